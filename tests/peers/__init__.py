"""Servers to test against: real ones (`servers`), and small ones that misbehave in one chosen way.

Each protocol module has a list `CASES`: what a peer does, and the reason that a check has to give for it. A case that
fails names its twin, a case that passes and differs in nothing but the fault. So a check cannot be right by chance, and
the native checks of HAProxy are held to the same list as `rota check`.

    with TcpPeer(dicom.CASES["aborts"].talk) as peer:
        ... peer.host, peer.port, peer.hostport
"""
