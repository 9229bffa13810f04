use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::Receiver;

use super::*;
use crate::app::orders::queue;

/// The next thing that somebody has asked.
fn next(inbox: &Receiver<Order>) -> Asked {
    match inbox.recv() {
        Ok(Order::Asked(asked)) => *asked,
        other => panic!("another order: {other:?}"),
    }
}

fn told(orders: SyncSender<Order>) -> Told {
    (orders, Arc::default())
}

/// For whom only the file's mode counts.
fn admin() -> Admin {
    Admin {
        listen: None,
        control: None,
        control_group: None,
        control_operators: Vec::new(),
        control_admins: Vec::new(),
    }
}

#[test]
fn what_is_asked_becomes_an_order_and_its_answer_comes_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("control");
    let (orders, inbox) = queue();
    let control = Control::start(&path, &admin(), told(orders)).expect("a free path");
    assert_eq!(fs::metadata(&path).expect("bound").mode() & 0o777, 0o660);
    let gateway = std::thread::spawn(move || {
        let answers = [
            Response::Done { generation: 2, warnings: vec!["hm".to_owned()] },
            Response::refused("line 7"),
        ];
        for answer in answers {
            let asked = next(&inbox);
            assert_eq!(asked.request, Request::Reload);
            asked.reply.send(answer).expect("it waits");
        }
    });
    let warnings = vec!["hm".to_owned()];
    let done = Response::Done { generation: 2, warnings };
    assert_eq!(ask(&path, &Request::Reload).expect("an answer"), done);
    let refused = Response::Refused { error: "line 7".to_owned() };
    assert_eq!(ask(&path, &Request::Reload).expect("an answer"), refused);
    gateway.join().expect("all was asked");
    // The gateway has gone, and the thread of the socket has not noticed yet.
    let Response::Refused { error } = ask(&path, &Request::Reload).expect("an answer") else {
        panic!("nobody is there to do it")
    };
    assert_eq!(error, "the gateway is going down");
    drop(control);
    assert!(!path.exists());
}

#[test]
fn only_so_many_are_served_at_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("control");
    let (orders, inbox) = queue();
    let counters = Arc::<SharedCounters>::default();
    let told = (orders, Arc::clone(&counters));
    let _control = Control::start(&path, &admin(), told).expect("a free path");
    // They wait for their answers.
    let asking = |stream: &mut UnixStream| stream.write_all(b"{\"verb\":\"reload\"}\n");
    let connect = || UnixStream::connect(&path).expect("it listens");
    let mut waiting: Vec<UnixStream> = (0..8).map(|_| connect()).collect();
    let asked: Vec<Asked> = waiting
        .iter_mut()
        .map(|stream| {
            asking(stream).expect("it reads");
            next(&inbox)
        })
        .collect();
    let mut text = String::new();
    connect().read_to_string(&mut text).expect("an answer");
    assert!(text.contains("busy"), "{text}");
    assert_eq!(counters.control_refused.get(), 1);
    for one in asked {
        one.reply.send(Response::refused("line 7")).expect("it waits");
    }
    for mut stream in waiting {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        assert!(text.contains("line 7"), "{text}");
    }
}

#[test]
fn a_successor_takes_the_path_over_without_a_gap() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("control");
    let (old_orders, old_inbox) = queue();
    let (new_orders, new_inbox) = queue();
    let old = Control::start(&path, &admin(), told(old_orders)).expect("a free path");
    let gave_up =
        Control::start_beside(&path, &admin(), told(new_orders.clone())).expect("a free path");
    drop(gave_up);
    let mut new = Control::start_beside(&path, &admin(), told(new_orders)).expect("a free path");
    // Until it appears, the old one is asked; from then on, the new one.
    for (inbox, appears) in [(&old_inbox, false), (&new_inbox, true)] {
        if appears {
            new.appear().expect("a writable directory");
        }
        let asked = std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&path, &Request::Reload));
            next(inbox).reply.send(Response::refused("line 7")).expect("it waits");
            asked.join().expect("no panic")
        });
        assert_eq!(asked.expect("an answer"), Response::Refused { error: "line 7".to_owned() });
    }
    drop(old);
    assert!(path.exists(), "the file is another's");
    drop(new);
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
}

#[test]
fn what_is_left_to_a_successor_is_there_until_that_takes_its_place() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("control");
    let (orders, _inbox) = queue();
    let mut old = Control::start(&path, &admin(), told(orders.clone())).expect("a free path");
    let mut new = Control::start_beside(&path, &admin(), told(orders)).expect("a free name");
    old.leave();
    drop(old);
    assert!(path.exists(), "there is no moment without a file");
    new.appear().expect("renamed");
    assert_eq!(identity(&path).expect("it is there"), new.file);
    drop(new);
    assert!(!path.exists());
}

#[test]
fn nonsense_is_refused_and_a_second_gateway_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("control");
    let (orders, _inbox) = queue();
    let _control = Control::start(&path, &admin(), told(orders.clone())).expect("a free path");
    let error = Control::start(&path, &admin(), told(orders)).expect_err("somebody is there");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    for nonsense in ["\n", "{}\n", "{\"verb\":\"stop\"}\n", "\u{0}", &"x".repeat(10_000)] {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        // It may have answered and gone before all was written.
        let _written = stream.write_all(nonsense.as_bytes());
        let _closed = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        // Bytes that were not read make the answer end in a reset.
        let _reset = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("{\"result\":\"refused\""), "{nonsense:.20}: {answer}");
    }
}

#[test]
fn content_comes_behind_its_line_and_within_limits() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("control");
    let (orders, inbox) = queue();
    let _control = Control::start(&path, &admin(), told(orders)).expect("a free path");
    let put = |length| Request::Put { transaction: 7, path: "server.key".into(), length };
    let content = vec![b'\n'; 100_000];
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask_with(&path, &put(content.len()), &content));
        let Asked { request, content: received, reply } = next(&inbox);
        assert_eq!((request, &received[..]), (put(content.len()), &content[..]));
        reply.send(Response::refused("line 7")).expect("it waits");
        assert_eq!(
            asked.join().expect("no panic").expect("an answer"),
            Response::refused("line 7")
        );
    });
    let too_much = ask_with(&path, &put((16 << 20) + 1), &content).expect("an answer");
    assert_eq!(too_much, Response::refused("more than 16777216 bytes"));
    // Less than was announced is nothing.
    let mut stream = UnixStream::connect(&path).expect("it listens");
    let line = serde_json::to_vec(&put(2)).expect("it has no maps");
    stream.write_all(&[&line[..], b"\nx"].concat()).expect("it reads");
    stream.shutdown(std::net::Shutdown::Write).expect("connected");
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
    assert!(inbox.try_recv().is_err(), "nobody has asked for anything");
}
