"""ResNet (He et al. 2016): an encoder of pictures made of convolutions."""
