//! Behaviour over real sockets, with buffers so small that everything comes in pieces.

mod idle;
mod round_trip;
mod uploads;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::LocalSet,
};

use super::super::{
    Call, CallFailed, Connection, Framing, Head, Patience, ResponseStream,
    body::{BodyDecoder, Taken},
    sending::Upload,
};

/// Far less than a large body. With less still, the kernel itself waits: windows smaller than a segment
/// are opened by its timers.
const SOCKET_BUFFER_BYTES: u32 = 32 << 10;
const DEADLINE: Duration = Duration::from_secs(20);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(DEADLINE, test).await.expect("in time") })
}

/// A connection and the backend's end of it.
async fn pair() -> (Connection, TcpStream) {
    let listening = TcpSocket::new_v4().unwrap();
    listening.set_recv_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
    listening.set_send_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = listening.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
    let (connected, accepted) = tokio::join!(socket.connect(addr), listener.accept());
    let backend = accepted.unwrap().0;
    backend.set_nodelay(true).unwrap();
    (Connection::over(connected.unwrap().into(), addr), backend)
}

/// What a client's body does next.
#[derive(Clone, Debug)]
enum Step {
    Piece(Bytes),
    Trailers(HeaderMap),
    /// Nothing, until the reader has been away.
    Pause,
    /// Nothing, until [`TestBody::release`].
    Hold,
    Fail,
}

#[derive(Default)]
struct TestBody {
    steps: RefCell<VecDeque<Step>>,
    released: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl TestBody {
    fn new(steps: impl IntoIterator<Item = Step>) -> Rc<Self> {
        Rc::new(Self { steps: RefCell::new(steps.into_iter().collect()), ..Self::default() })
    }

    fn release(&self) {
        self.released.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Upload for TestBody {
    type Error = ();

    fn precedes_another(&self) -> bool {
        true
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        let mut steps = self.steps.borrow_mut();
        match steps.front() {
            Some(Step::Hold) if !self.released.get() => {
                self.waker.replace(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Some(Step::Hold) => {
                steps.pop_front();
            }
            _ => {}
        }
        Poll::Ready(match steps.pop_front() {
            None => None,
            Some(Step::Piece(piece)) => Some(Ok(Frame::data(piece))),
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Fail) => Some(Err(())),
            Some(Step::Pause | Step::Hold) => {
                // Only the waker of the last poll counts.
                let waker = cx.waker().clone();
                tokio::task::spawn_local(async move {
                    tokio::task::yield_now().await;
                    waker.wake();
                });
                return Poll::Pending;
            }
        })
    }
}

fn patience() -> Option<Patience> {
    Some(Patience { idle: DEADLINE, left: None })
}

fn large(bytes: usize) -> Bytes {
    (0..bytes).map(|index| (index % 251) as u8).collect()
}

fn call(connection: Connection, body: Option<Rc<TestBody>>, framing: Framing) -> Call<TestBody> {
    let write = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"POST / HTTP/1.1\r\nhost: backend\r\n");
        if framing == Framing::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        out.extend_from_slice(b"\r\n");
    };
    connection.call(write, Vec::new(), body, framing)
}

fn get(connection: Connection) -> Call<TestBody> {
    call(connection, None, Framing::Empty)
}

async fn head(call: &mut Call<TestBody>) -> Result<Head, CallFailed> {
    poll_fn(|cx| call.poll_head(cx, false, |_| {})).await
}

/// The body and its trailers; none if it broke off.
async fn collect(stream: &mut ResponseStream) -> Option<(Bytes, Option<HeaderMap>)> {
    let collected = stream.collect().await.ok()?;
    let trailers = collected.trailers().cloned();
    Some((collected.to_bytes(), trailers))
}

/// The next request's head and body as the backend reads them; none if it breaks off.
async fn receive(backend: &mut TcpStream) -> Option<(String, Vec<u8>, HeaderMap)> {
    let mut buffer = BytesMut::new();
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if backend.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.split_to(end).to_vec()).ok()?;
    let chunked = head.contains("transfer-encoding: chunked");
    let mut decoder = if chunked { BodyDecoder::chunked() } else { BodyDecoder::EMPTY };
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match decoder.take(&mut buffer).ok()? {
            Taken::Frame(frame) => match frame.into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok()?,
            },
            Taken::End => break,
            Taken::More => {
                if backend.read_buf(&mut buffer).await.ok()? == 0 {
                    return None;
                }
            }
        }
    }
    assert!(buffer.is_empty(), "nothing comes behind a request");
    Some((head, body, trailers))
}

/// The answer to a whole GET, and whether its connection may be used again.
#[rstest]
#[case::length("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", true)]
#[case::chunked("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n", true)]
#[case::nothing("HTTP/1.1 204 No Content\r\n\r\n", true)]
#[case::version_10("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", true)]
#[case::version_10_without_a_word("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false)]
#[case::announced_close("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", false)]
#[case::more_than_the_length("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", false)]
#[case::more_than_no_body("HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\nx", false)]
#[case::more_than_the_last_chunk("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n", false)]
#[case::another_response(
    "HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    false
)]
fn reuse_only_after_a_clean_end(#[case] answer: &str, #[case] clean: bool) {
    run(async {
        let (connection, mut backend) = pair().await;
        let mut call = get(connection);
        assert!(!call.is_reused() && !call.has_sent());
        backend.write_all(answer.as_bytes()).await.unwrap();
        let head = head(&mut call).await.unwrap();
        assert!(call.has_sent());
        receive(&mut backend).await.expect("a whole request");
        let mut stream = call.into_body(&head);
        collect(&mut stream).await.expect("a whole response");
        let connection = stream.into_connection(patience);
        assert_eq!(connection.is_some(), clean);
        if let Some(connection) = connection {
            // It serves again.
            let mut call = get(connection);
            assert!(call.is_reused());
            let answered = async {
                receive(&mut backend).await.expect("a second request");
                backend.write_all(answer.as_bytes()).await.unwrap();
            };
            let (second, ()) = tokio::join!(self::head(&mut call), answered);
            assert_eq!(second.unwrap().status, head.status);
        } else {
            assert_eq!(backend.read(&mut [0]).await.unwrap_or(0), 0, "it is closed");
        }
    });
}

#[test]
fn a_response_that_has_not_been_read_to_its_end_takes_the_connection_with_it() {
    run(async {
        let (connection, mut backend) = pair().await;
        let mut call = get(connection);
        backend.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhi").await.unwrap();
        let head = head(&mut call).await.unwrap();
        assert!(call.into_body(&head).into_connection(patience).is_none());
    });
}

#[test]
fn a_response_until_the_end_ends_with_the_connection() {
    run(async {
        let (connection, mut backend) = pair().await;
        let mut call = get(connection);
        backend.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
        let head = head(&mut call).await.unwrap();
        receive(&mut backend).await.unwrap();
        drop(backend);
        let mut stream = call.into_body(&head);
        assert_eq!(collect(&mut stream).await.unwrap().0, "hello");
        assert!(stream.into_connection(patience).is_none());
    });
}

#[rstest]
#[case::length("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello")]
#[case::chunk("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello")]
#[case::last_chunk("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r")]
#[case::malformed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!")]
#[case::reset("HTTP/1.1 200 OK\r\n\r\nhello")]
fn a_broken_body_is_an_error(#[case] answer: &str) {
    run(async {
        let (connection, mut backend) = pair().await;
        let mut call = get(connection);
        backend.write_all(answer.as_bytes()).await.unwrap();
        let head = head(&mut call).await.unwrap();
        receive(&mut backend).await.unwrap();
        if answer.contains("OK\r\n\r\n") {
            socket2::SockRef::from(&backend).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(backend);
        assert!(collect(&mut call.into_body(&head)).await.is_none());
    });
}

#[rstest]
#[case::nothing("", "Closed")]
#[case::half_a_head("HTTP/1.1 200 OK\r\nServer: a\r\n", "Closed")]
#[case::interim_only("HTTP/1.1 100 Continue\r\n\r\n", "Closed")]
#[case::garbage("SSH-2.0-OpenSSH\r\n", "Invalid(\"the head is malformed\")")]
#[case::half_a_bad_line("HTTP/1.1 200 OK\r\nBad name", "Invalid(\"the head is malformed\")")]
#[case::switch("HTTP/1.1 101 S\r\n\r\n", "Invalid(\"a switch of protocols not asked for\")")]
fn no_head(#[case] answer: &str, #[case] failure: &str) {
    run(async {
        let (connection, mut backend) = pair().await;
        let mut call = get(connection);
        let answering = async {
            receive(&mut backend).await.unwrap();
            // Byte by byte, so that only the end tells that no more will come.
            for byte in answer.bytes() {
                backend.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(backend);
        };
        let (head, ()) = tokio::join!(head(&mut call), answering);
        assert_eq!(format!("{:?}", head.unwrap_err()), failure);
    });
}

#[test]
fn a_large_body_comes_whole_and_leaves_no_large_buffer_behind() {
    run(async {
        let (connection, mut backend) = pair().await;
        let mut call = get(connection);
        let body = large(1 << 20);
        let answering = async {
            receive(&mut backend).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            backend.write_all(head.as_bytes()).await.unwrap();
            backend.write_all(&body).await.unwrap();
        };
        let reading = async {
            let head = head(&mut call).await.unwrap();
            let mut stream = call.into_body(&head);
            let collected = collect(&mut stream).await.unwrap().0;
            (collected, stream.into_connection(patience).expect("clean"))
        };
        let ((), (collected, connection)) = tokio::join!(answering, reading);
        assert!(collected == body);
        assert_eq!(connection.buffer.capacity(), 0);
    });
}
