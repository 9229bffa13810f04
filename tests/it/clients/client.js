// Two TLS connections, the second with the session of the first. See clients.rs.
'use strict';

const fs = require('node:fs');
const tls = require('node:tls');

const [port, authority, version] = process.argv.slice(2);

function connect(session) {
  return new Promise((resolve, reject) => {
    let ticket;
    let answer = '';
    const socket = tls.connect({
      host: '127.0.0.1',
      port: Number(port),
      servername: 'localhost',
      ca: fs.readFileSync(authority),
      minVersion: `TLSv${version}`,
      maxVersion: `TLSv${version}`,
      session,
    });
    socket.setTimeout(30000, () => socket.destroy(new Error('timeout')));
    socket.on('session', (data) => { ticket = data; });
    socket.on('secureConnect', () => {
      if (socket.getProtocol() !== `TLSv${version}`) {
        socket.destroy(new Error(socket.getProtocol()));
        return;
      }
      console.log(`resumed=${socket.isSessionReused()}`);
      socket.write('GET / HTTP/1.0\r\n\r\n');
    });
    socket.on('data', (data) => { answer += data; });
    socket.on('end', () => {
      console.log(answer);
      socket.end();
    });
    socket.on('close', () => resolve(ticket));
    socket.on('error', reject);
  });
}

connect(undefined).then(connect).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
