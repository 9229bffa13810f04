"""Two TLS connections, the second with the session of the first. See clients.rs."""

import socket
import ssl
import sys

port, authority, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=authority)
context.minimum_version = context.maximum_version = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}[version]

session = None
for _ in range(2):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as tcp:
        tls = context.wrap_socket(tcp, server_hostname="localhost", session=session)
        assert tls.version() == "TLSv" + version, tls.version()
        tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := tls.recv(65536):
            answer += piece
        print("resumed=" + str(tls.session_reused).lower())
        print(answer.decode())
        # In TLS 1.3 the ticket has come by now.
        session = tls.session
        tls.unwrap()
