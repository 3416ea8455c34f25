//! A backend: it answers each request as the request asks, and keeps the ledger.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use lb_testkit::{
    BodyEnd, Head,
    sim_net::{Crash, Network, Stream},
    wire::{Event, Extent, Wire},
};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use crate::{
    ledger::{Ledger, id_of},
    plan::backend_ip,
};

/// A backend, running or not.
pub(crate) struct Backend {
    number: usize,
    network: Network,
    ledger: Rc<Ledger>,
    keep_alive: Duration,
    sick: Rc<Cell<bool>>,
    /// What its process consists of.
    tasks: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

impl Backend {
    pub(crate) fn start(network: &Network, ledger: &Rc<Ledger>, number: usize, keep_alive_ms: u64) -> Self {
        let backend = Self {
            number,
            network: network.clone(),
            ledger: Rc::clone(ledger),
            keep_alive: Duration::from_millis(keep_alive_ms),
            sick: Rc::default(),
            tasks: Rc::default(),
        };
        backend.run();
        backend
    }

    fn run(&self) {
        let ip = backend_ip(self.number);
        let listener = match self.network.host(ip).listen((ip, 80).into()) {
            Ok(listener) => listener,
            Err(error) => return self.ledger.violation(format!("a backend cannot listen: {error}")),
        };
        let (ledger, sick, tasks) = (Rc::clone(&self.ledger), Rc::clone(&self.sick), Rc::clone(&self.tasks));
        let (number, keep_alive) = (self.number, self.keep_alive);
        let accepting = spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await;
                let served =
                    Served { number, ledger: Rc::clone(&ledger), sick: Rc::clone(&sick), keep_alive };
                tasks.borrow_mut().push(spawn_local(served.serve(stream)));
            }
        });
        self.tasks.borrow_mut().push(accepting);
    }

    /// Its health checks fail from now on, or pass again.
    pub(crate) fn set_sick(&self, sick: bool) {
        self.sick.set(sick);
    }

    pub(crate) fn crash(&self, crash: Crash) {
        // First the host: a process that merely stopped would end its connections in order.
        self.network.crash(backend_ip(self.number), crash);
        for task in self.tasks.borrow_mut().drain(..) {
            task.abort();
        }
    }

    pub(crate) fn restart(&self) {
        self.network.restart(backend_ip(self.number));
        if self.tasks.borrow().is_empty() {
            self.run();
        }
    }
}

/// A connection of a backend.
struct Served {
    number: usize,
    ledger: Rc<Ledger>,
    sick: Rc<Cell<bool>>,
    keep_alive: Duration,
}

impl Served {
    async fn serve(self, stream: Stream) {
        let mut wire = Wire::over(stream);
        while let Ok(Ok(Some(head))) = timeout(self.keep_alive, wire.head()).await {
            let goes_on = if head.word(1) == "/healthcheck" {
                self.check(&mut wire).await
            } else {
                self.answer(&mut wire, &head).await
            };
            if goes_on.is_none() {
                return;
            }
        }
    }

    async fn check(&self, wire: &mut Wire<Stream>) -> Option<()> {
        let status = if self.sick.get() { "503 Sick" } else { "200 OK" };
        wire.write(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.ok()
    }

    /// Gives none when the connection is over.
    async fn answer(&self, wire: &mut Wire<Stream>, head: &Head) -> Option<()> {
        let (target, method) = (head.word(1).to_owned(), head.word(0).to_owned());
        let Some(id) = id_of(&target) else {
            self.ledger.violation(format!("b{} got {target}, which nobody asked for", self.number));
            return None;
        };
        let reception = self.ledger.received(id, self.number);
        let Some(extent) = Extent::of_request(head) else {
            self.ledger.violation(format!("b{} got request {id} without a valid framing", self.number));
            return None;
        };
        if head.headers.has("expect") {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
        }
        let early = word(&target, "early") == "true";
        let to_head = method == "HEAD";
        if early {
            self.respond(wire, &target, id, to_head).await?;
        }
        let (mut came, mut wrong, mut end) = (0, false, BodyEnd::Arriving);
        wire.body(extent, &mut |event| match event {
            Event::Data(bytes) => {
                wrong |= !is_content(!id, came, bytes);
                came += bytes.len();
                self.ledger.reception(id, reception, |reception| reception.body_bytes = came);
            }
            Event::Trailer(_) => {}
            Event::End(ending) => end = ending,
        })
        .await;
        if wrong {
            self.ledger.violation(format!("b{} got another body than request {id} has", self.number));
        }
        if end != BodyEnd::Complete {
            return None;
        }
        if came != number(&target, "upload") {
            self.ledger
                .violation(format!("b{} got {came} bytes of request {id} as all of them", self.number));
        }
        self.ledger.reception(id, reception, |reception| reception.whole = true);
        if !early {
            sleep(Duration::from_millis(number(&target, "delay") as u64)).await;
            self.respond(wire, &target, id, to_head).await?;
        }
        self.ledger.reception(id, reception, |reception| reception.finished = true);
        Some(()).filter(|_| word(&target, "framing") != "Close")
    }

    async fn respond(&self, wire: &mut Wire<Stream>, target: &str, id: u64, to_head: bool) -> Option<()> {
        let (status, bytes) = (number(target, "status"), number(target, "bytes"));
        let framing = match word(target, "framing") {
            "Chunked" => "Transfer-Encoding: chunked".to_owned(),
            "Close" => "Connection: close".to_owned(),
            _ => format!("Content-Length: {bytes}"),
        };
        let head = format!(
            "HTTP/1.1 {status} Asked\r\nX-Id: {id}\r\nX-Backend: {}\r\n{framing}\r\n\r\n",
            self.number
        );
        wire.write(head.as_bytes()).await.ok()?;
        if to_head {
            return Some(());
        }
        // Where only the end tells, half an answer would be a whole one.
        let cuts = word(target, "cut") == "true" && word(target, "framing") != "Close";
        let mut content = content(id, bytes);
        content.truncate(if cuts { bytes / 2 } else { bytes });
        for piece in content.chunks(10_000) {
            if word(target, "framing") == "Chunked" {
                wire.write(format!("{:x}\r\n", piece.len()).as_bytes()).await.ok()?;
                wire.write(piece).await.ok()?;
                wire.write(b"\r\n").await.ok()?;
            } else {
                wire.write(piece).await.ok()?;
            }
        }
        if cuts {
            return None;
        }
        if word(target, "framing") == "Chunked" {
            wire.write(b"0\r\n\r\n").await.ok()?;
        }
        Some(())
    }
}

/// A parameter of the target's query.
pub(crate) fn word<'a>(target: &'a str, name: &str) -> &'a str {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let found = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    found.map_or("", |(_, value)| value)
}

fn number(target: &str, name: &str) -> usize {
    word(target, name).parse().unwrap_or(0)
}

fn byte(id: u64, at: usize) -> u8 {
    (id.wrapping_mul(31) as usize).wrapping_add(at.wrapping_mul(7)).wrapping_add(at >> 8) as u8
}

/// A body that is like no other request's.
pub(crate) fn content(id: u64, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| byte(id, at)).collect()
}

/// Whether these are the bytes from `from` on.
pub(crate) fn is_content(id: u64, from: usize, bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(at, found)| *found == byte(id, from + at))
}
