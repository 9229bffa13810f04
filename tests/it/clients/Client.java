import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;

/** Two TLS connections, the second with the session of the first. See clients.rs. */
public final class Client {
    private Client() {}

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        String version = "TLSv" + arguments[2];
        SSLContext context = Trust.in(arguments[1]);
        for (int connection = 0; connection < 2; connection++) {
            long before = System.currentTimeMillis();
            Socket tcp = new Socket(InetAddress.getByName("127.0.0.1"), port);
            tcp.setSoTimeout(30_000);
            try (SSLSocket socket = (SSLSocket)
                    context.getSocketFactory().createSocket(tcp, "localhost", port, true)) {
                socket.setEnabledProtocols(new String[] {version});
                socket.startHandshake();
                if (!socket.getSession().getProtocol().equals(version)) {
                    throw new IllegalStateException(socket.getSession().getProtocol());
                }
                // A resumed session keeps the time of its first handshake.
                boolean resumed = socket.getSession().getCreationTime() < before;
                socket.getOutputStream()
                        .write("GET / HTTP/1.0\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
                InputStream input = socket.getInputStream();
                String answer = new String(input.readAllBytes(), StandardCharsets.US_ASCII);
                System.out.println("resumed=" + resumed);
                System.out.println(answer);
            }
            // So that the clock tells the connections apart.
            while (System.currentTimeMillis() <= before + 1) {
                Thread.sleep(1);
            }
        }
    }
}
