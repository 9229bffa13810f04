import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.security.Security;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.util.Properties;
import javax.net.SocketFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;

/**
 * A query by JDBC over exactly one version of TLS: from the first byte ("direct"), or begun inside the
 * database's own protocol ("inside"). See uccx/jdbc.rs.
 */
public final class Jdbc {
    private static String version;
    private static SSLContext context;
    private static volatile SSLSocket last;

    private Jdbc() {}

    public static void main(String[] arguments) throws Exception {
        version = "TLSv" + ("1.0".equals(arguments[3]) ? "1" : arguments[3]);
        // What this Java has switched off, an old one has not.
        Security.setProperty("jdk.tls.disabledAlgorithms", "");
        context = Trust.in(arguments[1]);
        Properties properties = new Properties();
        properties.setProperty("user", "postgres");
        properties.setProperty("loginTimeout", "30");
        if ("direct".equals(arguments[2])) {
            properties.setProperty("sslmode", "disable");
            properties.setProperty("socketFactory", Direct.class.getName());
        } else {
            properties.setProperty("sslmode", "require");
            properties.setProperty("sslfactory", Inside.class.getName());
        }
        String url = "jdbc:postgresql://localhost:" + arguments[0] + "/postgres";
        try (Connection connection = DriverManager.getConnection(url, properties);
                ResultSet result = connection.createStatement().executeQuery(
                        "select md5(string_agg(i::text, ',')) from generate_series(1, 1000) i")) {
            result.next();
            System.out.println("spoken=" + last.getSession().getProtocol());
            System.out.println("answer=" + result.getString(1));
        }
    }

    private static SSLSocket limited(Socket socket) {
        last = (SSLSocket) socket;
        last.setEnabledProtocols(new String[] {version});
        return last;
    }

    /** For a driver that knows of no TLS. */
    public static final class Direct extends SocketFactory {
        @Override
        public Socket createSocket() throws IOException {
            return limited(context.getSocketFactory().createSocket());
        }

        @Override
        public Socket createSocket(String host, int port) throws IOException {
            return limited(context.getSocketFactory().createSocket(host, port));
        }

        @Override
        public Socket createSocket(String host, int port, InetAddress local, int localPort)
                throws IOException {
            return createSocket(host, port);
        }

        @Override
        public Socket createSocket(InetAddress host, int port) throws IOException {
            return limited(context.getSocketFactory().createSocket(host, port));
        }

        @Override
        public Socket createSocket(InetAddress host, int port, InetAddress local, int localPort)
                throws IOException {
            return createSocket(host, port);
        }
    }

    /** For a driver that begins TLS itself, on a socket that is there. */
    public static final class Inside extends SSLSocketFactory {
        public Inside() {}

        public Inside(Properties properties) {}

        @Override
        public Socket createSocket(Socket socket, String host, int port, boolean close)
                throws IOException {
            return limited(context.getSocketFactory().createSocket(socket, host, port, close));
        }

        @Override
        public Socket createSocket(String host, int port) {
            throw new UnsupportedOperationException();
        }

        @Override
        public Socket createSocket(String host, int port, InetAddress local, int localPort) {
            throw new UnsupportedOperationException();
        }

        @Override
        public Socket createSocket(InetAddress host, int port) {
            throw new UnsupportedOperationException();
        }

        @Override
        public Socket createSocket(InetAddress host, int port, InetAddress local, int localPort) {
            throw new UnsupportedOperationException();
        }

        @Override
        public String[] getDefaultCipherSuites() {
            return context.getSocketFactory().getDefaultCipherSuites();
        }

        @Override
        public String[] getSupportedCipherSuites() {
            return context.getSocketFactory().getSupportedCipherSuites();
        }
    }
}
