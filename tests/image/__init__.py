"""Build the image, and run what compose.yaml names with it, without a container engine (`make image-test`)."""
