"""Networks that transformers does not have. Importing this package makes its Auto classes know them.

    import adsr_hf.networks
    model = AutoModelForImageClassification.from_pretrained("owner/robust-resnet18")

Their code lives here and nowhere else: checkpoints carry none, so that nothing is ever run from the Hub.
"""

from transformers import AutoConfig, AutoModelForImageClassification

from adsr_hf.networks.cifar_resnet import CifarResNetForImageClassification
from adsr_hf.networks.cifar_resnet_config import CifarResNetConfig

__all__ = ["OWN_NETWORKS", "CifarResNetConfig", "CifarResNetForImageClassification"]

OWN_NETWORKS = (CifarResNetForImageClassification,)

AutoConfig.register(CifarResNetConfig.model_type, CifarResNetConfig)
AutoModelForImageClassification.register(CifarResNetConfig, CifarResNetForImageClassification)
