"""Reading diffraction images and their geometry."""
