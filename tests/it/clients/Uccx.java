import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.security.Security;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;

/**
 * A request over HTTPS as an old Java sends it: with the versions that it is told, and SSLv2Hello for
 * a hello in that format. See uccx/salesforce.rs.
 */
public final class Uccx {
    private Uccx() {}

    public static void main(String[] arguments) throws Exception {
        String name = arguments[2];
        // What this Java has switched off, an old one has not.
        Security.setProperty("jdk.tls.disabledAlgorithms", "");
        int port = Integer.parseInt(arguments[0]);
        Socket tcp = new Socket(InetAddress.getByName("127.0.0.1"), port);
        tcp.setSoTimeout(30_000);
        SSLContext context = Trust.in(arguments[1]);
        try (SSLSocket socket =
                (SSLSocket) context.getSocketFactory().createSocket(tcp, name, port, true)) {
            socket.setEnabledProtocols(arguments[3].split(","));
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(parameters);
            String request = "GET /asked HTTP/1.0\r\nHost: " + name + "\r\n\r\n";
            socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            byte[] answer = socket.getInputStream().readAllBytes();
            System.out.println("spoken=" + socket.getSession().getProtocol());
            System.out.println(new String(answer, StandardCharsets.US_ASCII));
        }
    }
}
