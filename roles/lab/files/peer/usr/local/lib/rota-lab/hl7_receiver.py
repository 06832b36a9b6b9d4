"""An HL7 v2 receiver on the MLLP server of the third-party `hl7` package.

Plain on 2575, TLS on 2576. Every message becomes one line in /var/lib/rota-lab/hl7.jsonl: control id,
answer, caller, time. The text of the message is not kept.
"""

import asyncio
import ssl

import faults
import hl7
from hl7.mllp import HL7StreamReader, HL7StreamWriter, InvalidBlockError, start_hl7_server

PLAIN_PORT = 2575
TLS_PORT = 2576


async def serve_caller(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
    """Acknowledge messages on one connection, in order, until the caller leaves."""
    peer = writer.get_extra_info("peername")
    try:
        while True:
            message = await reader.readmessage()
            answer = "AE" if faults.is_set("reject") else "AA"
            await asyncio.sleep(faults.delay())
            faults.record("hl7", control_id=str(message["MSH.F10"]), answer=answer, caller=peer[0], port=peer[1])
            if faults.is_set("silent"):
                continue
            writer.writemessage(message.create_ack(answer, message_id=None))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, InvalidBlockError, hl7.HL7Exception):
        pass  # the caller left, or did not speak MLLP: both end the connection, neither is news
    finally:
        writer.close()


async def main() -> None:
    """Listen on both ports for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/lab/server.pem")
    plain = await start_hl7_server(serve_caller, port=PLAIN_PORT)
    tls = await start_hl7_server(serve_caller, port=TLS_PORT, ssl=context)
    async with plain, tls:
        await asyncio.gather(plain.serve_forever(), tls.serve_forever())


if __name__ == "__main__":
    asyncio.run(main())
