"""Sends a mail by SMTPS, stores and fetches it by IMAPS, and fetches it by HTTPS, each in exactly one
version of TLS. See uccx/exchange.rs."""

import http.client
import imaplib
import smtplib
import ssl
import sys

version, ca, name = sys.argv[1:4]
ports = dict(zip(("smtp", "imap", "https"), map(int, sys.argv[4:7])))
with open(sys.argv[7], "rb") as file:
    mail = file.read()

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(ca)
context.set_ciphers("DEFAULT:@SECLEVEL=0")
context.minimum_version = context.maximum_version = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.2": ssl.TLSVersion.TLSv1_2,
}[version]


def smtp(port):
    with smtplib.SMTP_SSL(name, port, context=context, timeout=60) as server:
        server.sendmail("agent@socialminer.test", ["customer@exchange.test"], mail)
        return server.sock.version()


def imap(port):
    with imaplib.IMAP4_SSL(name, port, ssl_context=context, timeout=60) as server:
        server.login("agent", "secret")
        server.append("INBOX", None, None, mail)
        _, count = server.select("INBOX")
        _, fetched = server.fetch(count[0].decode(), "(BODY.PEEK[])")
        if fetched[0][1] != mail:
            raise ValueError("another mail")
        return server.socket().version()


def https(port):
    server = http.client.HTTPSConnection(name, port, context=context, timeout=60)
    server.connect()
    spoken = server.sock.version()
    server.request("GET", "/mail")
    if server.getresponse().read() != mail:
        raise ValueError("another mail")
    return spoken


for service in (smtp, imap, https):
    try:
        print(service.__name__, service(ports[service.__name__]))
    except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
        print(service.__name__, "failed:", type(error).__name__, error)
