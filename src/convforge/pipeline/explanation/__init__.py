"""What a net goes by: the feature maps of its convolutions, and Grad-CAM."""
