"""The first boot of a machine made from the image: who it is, where it stands, who may log in."""
