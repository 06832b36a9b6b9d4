"""What the tests of the pair stand on: senders in the client, the nodes' own word, the archives' contents."""
