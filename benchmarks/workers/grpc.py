"""A grpc.aio server on the unix socket that is named as the only argument."""

import asyncio
import struct
import sys
from typing import Any

import grpc


async def add(request: bytes, _context: Any) -> bytes:
    """The sum of two big-endian 64-bit numbers, as a third."""
    a, b = struct.unpack(">qq", request)
    return struct.pack(">q", a + b)


async def echo(request: bytes, _context: Any) -> bytes:
    """The same bytes."""
    return request


async def main() -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    methods = {
        "add": grpc.unary_unary_rpc_method_handler(add),
        "echo": grpc.unary_unary_rpc_method_handler(echo),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", methods),))
    server.add_insecure_port(f"unix:{sys.argv[1]}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


asyncio.run(main())
