"""What an operator types: each command asks rotad on this node, which acts on both."""
