"""rotad: the small control daemon of a node. It follows, remembers and switches; it never carries traffic."""
