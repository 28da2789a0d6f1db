"""What fine-tuning a pretrained network needs: layer-wise rates, frozen parts, other image sizes, adapters."""
