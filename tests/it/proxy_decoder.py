"""A component that reads the PROXY protocol, written from the text of its specification alone
(https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, sections 2.1 to 2.2.8).

Says what each header has as a line of JSON, bytes in hexadecimal, and echoes what follows it. With a
certificate and key, what follows is TLS.

    proxy_decoder.py PORT [CERTIFICATE KEY]
"""

import ipaddress
import json
import socket
import ssl
import struct
import sys
import threading

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
NAMES = {
    0x01: "alpn", 0x02: "authority", 0x03: "crc32c", 0x04: "noop", 0x05: "unique_id",
    0x20: "ssl", 0x30: "netns",
}
SSL_NAMES = {
    0x21: "version", 0x22: "cn", 0x23: "cipher", 0x24: "sig_alg", 0x25: "key_alg",
    0x26: "group", 0x27: "sig_scheme", 0x28: "client_cert",
}


def exactly(stream, count):
    parts = b""
    while len(parts) < count:
        part = stream.recv(count - len(parts))
        if not part:
            raise ValueError(f"ends after {parts!r}")
        parts += part
    return parts


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def values(data, names):
    """Type, length, value."""
    found = {}
    while data:
        kind, length = struct.unpack_from("!BH", data)
        if length > len(data) - 3:
            raise ValueError("a value is cut off")
        name = names.get(kind, hex(kind))
        if name in found:
            raise ValueError(f"{name} is there twice")
        found[name] = data[3 : 3 + length]
        data = data[3 + length :]
    return found


def version_1(stream, line):
    while not line.endswith(b"\r\n"):
        if len(line) >= 107:
            raise ValueError("a line without an end")
        line += exactly(stream, 1)
    words = line[:-2].decode("ascii").split(" ")
    said = {"version": 1, "command": words[1]}
    if words[1] != "UNKNOWN":
        _, family, source, destination, source_port, destination_port = words
        wanted = {"TCP4": 4, "TCP6": 6}[family]
        for address in (source, destination):
            if ipaddress.ip_address(address).version != wanted:
                raise ValueError(f"{address} is not of {family}")
        said["source"], said["destination"] = [source, int(source_port)], [destination, int(destination_port)]
    return said


def version_2(stream):
    command, family, length = struct.unpack("!BBH", exactly(stream, 4))
    rest = exactly(stream, length)
    if command >> 4 != 2:
        raise ValueError("another version")
    said = {"version": 2, "command": {0: "LOCAL", 1: "PROXY"}[command & 15]}
    size = {0x11: 4, 0x21: 16}.get(family)
    tlvs = rest
    if size:
        both = [rest[:size], rest[size : 2 * size]]
        ports = struct.unpack_from("!HH", rest, 2 * size)
        both = [str(ipaddress.ip_address(address)) for address in both]
        said["source"], said["destination"] = [list(one) for one in zip(both, ports)]
        tlvs = rest[2 * size + 4 :]
    elif family != 0:
        raise ValueError(f"family {family}")
    found = values(tlvs, NAMES)
    if "crc32c" in found:
        whole = SIGNATURE + struct.pack("!BBH", command, family, length) + rest
        sum_of = found["crc32c"]
        if whole.count(sum_of) != 1:
            raise ValueError("where is the checksum?")
        if struct.unpack("!I", sum_of)[0] != crc32c(whole.replace(sum_of, bytes(4))):
            raise ValueError("a wrong checksum")
    if "ssl" in found:
        client, verify = struct.unpack_from("!BI", found["ssl"])
        inner = values(found.pop("ssl")[5:], SSL_NAMES)
        said["ssl"] = {name: value.hex() for name, value in inner.items()}
        said["ssl"].update(client=client, verify=verify)
    said.update({name: value.hex() for name, value in found.items()})
    return said


def serve(stream, context):
    try:
        start = exactly(stream, 12) if stream.recv(1, socket.MSG_PEEK) != b"P" else exactly(stream, 6)
        if start == SIGNATURE:
            said = version_2(stream)
        elif start == b"PROXY ":
            said = version_1(stream, start)
        else:
            raise ValueError(f"begins with {start!r}")
    except (ValueError, KeyError, struct.error) as error:
        said = {"error": str(error)}
    # In one piece: others print, too.
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    if "error" in said:
        return stream.close()
    try:
        if context:
            stream = context.wrap_socket(stream, server_side=True)
        while part := stream.recv(65536):
            stream.sendall(part)
        if context:
            # Says close_notify.
            stream = stream.unwrap()
    except OSError:
        # How it ends is nothing to the header.
        pass
    stream.close()


def main():
    port, *files = sys.argv[1:]
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    listener = socket.create_server(("127.0.0.1", int(port)))
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=serve, args=(stream, context), daemon=True).start()


main()
