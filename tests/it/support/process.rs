//! Processes: started, watched through /proc, never left behind.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The gateway's program.
pub(crate) fn gateway_program() -> PathBuf {
    std::env::var_os("TLSGATE_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tlsgate")), PathBuf::from)
}

/// The gateway's program under a name of its own in `directory`.
pub(crate) fn own_program(directory: &Path) -> PathBuf {
    let path = directory.join("program");
    let linked = fs::hard_link(gateway_program(), &path);
    // Another file system.
    linked
        .or_else(|_| fs::copy(gateway_program(), &path).map(|_| ()))
        .expect("a writable directory");
    path
}

/// The measuring tool's program.
pub(crate) fn bench_program() -> PathBuf {
    std::env::var_os("TLSGATE_BENCH_BIN")
        .map_or_else(|| gateway_program().with_file_name("tlsgate-bench"), PathBuf::from)
}

/// A running program whose output is collected; killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// Lines that a program has written so far.
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Exit code; -1 when a signal ended it.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

impl Process {
    /// Starts a program with its input open.
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut child = child;
        let stdout = Output::collect(child.stdout.take().expect("piped"));
        let stderr = Output::collect(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The program's input; closed when the returned value is dropped. Once only.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    /// Gives the input back, to stay open as long as the program is watched.
    pub(crate) fn keep_stdin(&mut self, stdin: ChildStdin) {
        self.child.stdin = Some(stdin);
    }

    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.so_far()
    }

    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.so_far()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    /// The exit status, if it has ended.
    pub(crate) fn poll(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not end within `limit`; it is killed then.
    pub(crate) fn wait(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.poll() {
                break status;
            }
            if Instant::now() >= deadline {
                let errors = self.stderr().join("\n");
                panic!("process {} has not ended within {limit:?}:\n{errors}", self.id());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.stdout.finish();
        self.stderr.finish();
        Ended { status, stdout: self.stdout().join("\n"), stderr: self.stderr().join("\n") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Output {
    fn collect(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn so_far(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading lines does not panic");
        }
    }
}

/// Runs a program to its end.
///
/// # Panics
/// As [`Process::wait`].
pub(crate) fn run(command: &mut Command, limit: Duration) -> Ended {
    let mut process = Process::start(command);
    drop(process.stdin());
    process.wait(limit)
}

/// Runs a program with this input to its end.
///
/// # Panics
/// As [`Process::wait`].
pub(crate) fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Ended {
    use std::io::Write;
    let mut process = Process::start(command);
    // A program that does not want its input may have ended.
    let _written = process.stdin().write_all(input);
    process.wait(limit)
}

/// Number of open descriptors of a process.
pub(crate) fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of our own").count()
}

/// Physical memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).expect("a process of our own");
    let pages = text.split_ascii_whitespace().nth(1).expect("the second field is RSS");
    let page_size = u64::try_from(rustix::param::page_size()).expect("a page is small");
    pages.parse::<u64>().expect("a number of pages") * page_size
}

/// CPU time that a process has used.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process of our own");
    // proc_pid_stat(5): the name in parentheses may hold spaces; utime and stime are fields 14, 15.
    let (_, fields) = text.rsplit_once(')').expect("the name is in parentheses");
    let fields = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Limit on descriptors that a program started by this one can have.
pub(crate) fn descriptor_limit() -> io::Result<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.maximum.ok_or_else(|| io::Error::other("no limit"))
}

/// The first and the last lines.
pub(crate) fn both_ends(lines: &[String]) -> String {
    const EACH: usize = 20;
    if lines.len() <= 2 * EACH {
        return lines.join("\n");
    }
    let (first, last) = (&lines[..EACH], &lines[lines.len() - EACH..]);
    format!("{}\n... {} lines\n{}", first.join("\n"), lines.len() - 2 * EACH, last.join("\n"))
}
