//! `lb demo`: the guide's walk, live: a balancer and its backends in one process, moved by typed lines.

use std::{
    collections::BTreeMap,
    io::BufRead,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use lb_core::{config::Config, pool::Transition};
use lb_server::{Observer, Options, Server, access_log::Record};
use lb_testkit::{Backend, Behaviour};
use tokio::sync::mpsc as async_mpsc;

/// Lines a second that are printed one by one; further requests are summed up.
const LINES_PER_SECOND: usize = 25;

const HELP: &str = "\
Type:  stop NAME | start NAME         a backend dies, or comes back
       fail [NAME] | slow 500ms [NAME]  it answers 500, or late (NAME: mango1 unless said)
       ok [NAME]                      it answers as usual again
       help | quit                    (Ctrl-C ends as well)";

pub(crate) async fn run(listen: SocketAddr) -> Result<(), String> {
    let mut backends = Backends::start().await.map_err(|error| format!("cannot start a backend: {error}"))?;
    let text = configuration(listen, &backends);
    let config = Config::load(&text).map_err(|problems| problems.in_file("demo").to_string())?;
    let (events, inbox) = mpsc::channel();
    let options = Options { observer: Some(Arc::new(Teller(events))), ..Options::default() };
    let server = Server::start(&config, options).map_err(|error| error.to_string())?;
    let address = server.addresses().first().copied().unwrap_or(listen);
    // Before anything is said, so that Ctrl-C ends the demo cleanly from then on.
    let mut signals =
        crate::Signals::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    crate::say(introduction(&text, address));
    let printer = thread::spawn(move || print(&inbox));

    let mut lines = typed_lines();
    loop {
        let line = tokio::select! {
            () = signals.end_or_hangup() => break,
            line = lines.recv() => line,
        };
        match line.as_deref().map(str::trim) {
            // Standard input has ended: go on until Ctrl-C.
            None => {
                signals.end_or_hangup().await;
                break;
            }
            Some("quit" | "exit") => break,
            Some("") => {}
            Some(line) => crate::say(backends.obey(line).await),
        }
    }
    crate::say("ending: finishing what is in flight");
    {
        let mut ending = std::pin::pin!(server.shutdown());
        tokio::select! {
            biased; // there must be a shutdown under way before it can be forced
            _ = &mut ending => {}
            () = signals.end_or_hangup() => {
                server.force();
                ending.await;
            }
        }
    }
    backends.stop().await;
    drop(server);
    drop(printer); // it ends with its channel; nothing is left to print
    Ok(())
}

/// The demo's cast.
struct Backends(BTreeMap<&'static str, Backend>);

impl Backends {
    async fn start() -> std::io::Result<Self> {
        let mut all = BTreeMap::new();
        for (name, app) in [("mango1", "mango"), ("mango2", "mango"), ("apple1", "apple")] {
            all.insert(name, Backend::app(app).name(app).start().await?);
        }
        Ok(Self(all))
    }

    async fn stop(&mut self) {
        for backend in self.0.values() {
            backend.stop().await;
        }
    }

    /// Does what a typed line says, and says what was done.
    async fn obey(&mut self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let latency = if verb == "slow" {
            match words.next().and_then(parse_latency) {
                Some(latency) => Some(latency),
                None => return "say how slow, such as: slow 500ms".into(),
            }
        } else {
            None
        };
        let name = match (verb, words.next()) {
            ("help", _) => return HELP.into(),
            ("stop" | "start", None) => return format!("say which: {verb} {}", self.names()),
            (_, None) => "mango1",
            (_, Some(name)) => name,
        };
        let Some(backend) = self.0.get(name) else {
            return format!("no backend is called {name:?}; there are {}", self.names());
        };
        match (verb, latency) {
            ("stop", _) => {
                backend.stop().await;
                format!("{name} is stopped")
            }
            ("start", _) if backend.is_running() => format!("{name} is running"),
            ("start", _) => match backend.restart().await {
                Ok(()) => format!("{name} is started"),
                Err(error) => format!("{name} cannot be started: {error}"),
            },
            ("fail", _) => {
                backend.behave_for_traffic(Behaviour::fail());
                format!("{name} answers 500 (its health checks still pass; see how it is ejected)")
            }
            ("slow", Some(latency)) => {
                backend.behave_for_traffic(Behaviour::own().after(latency));
                format!("{name} answers after {latency:?}")
            }
            ("ok", _) => {
                backend.behave_normally();
                format!("{name} answers as usual")
            }
            _ => format!("{verb:?} is not understood\n{HELP}"),
        }
    }

    fn names(&self) -> String {
        self.0.keys().copied().collect::<Vec<_>>().join(" | ")
    }
}

fn parse_latency(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

fn configuration(listen: SocketAddr, backends: &Backends) -> String {
    let entry = |name: &str| {
        let address = backends.0.get(name).map_or_else(String::new, |backend| backend.addr().to_string());
        format!(r#"{{ name = "{name}", address = "{address}" }}"#)
    };
    format!(
        r#"[access_log]
format = "off"                   # the demo prints requests by itself

[[listener]]
bind = "{listen}"

[pool.mango]
algorithm = "round_robin"
backends = [
  {mango1},
  {mango2},
]
health_check = {{ path = "/healthcheck", interval = "2s", timeout = "1s" }}

[pool.apple]
backends = [{apple1}]
health_check = {{ path = "/healthcheck", interval = "2s", timeout = "1s" }}

[[route]]
name = "mango"
match = {{ host = "www.mango.com" }}
pool = "mango"

[[route]]
name = "apple"
match = {{ host = "www.apple.com" }}
pool = "apple"

[[route]]
name = "mango-path"
match = {{ path = "/mango" }}
pool = "mango"
request = {{ rewrite_path = "/" }}
"#,
        mango1 = entry("mango1"),
        mango2 = entry("mango2"),
        apple1 = entry("apple1"),
    )
}

fn introduction(text: &str, address: SocketAddr) -> String {
    format!(
        "The configuration that runs:\n\n{text}\n\
         The balancer listens on http://{address}. In another terminal, try\n\n\
         \x20   curl -H 'Host: www.mango.com' http://{address}/        # mango1 and mango2 in turn\n\
         \x20   curl -H 'Host: www.apple.com' http://{address}/        # apple1\n\
         \x20   curl http://{address}/mango                            # by path, whatever the host\n\
         \x20   curl -i http://{address}/nowhere                       # 404: no route\n\n\
         and in this one `stop mango1`, curl on, `start mango1`.\n\n{HELP}\n"
    )
}

fn typed_lines() -> async_mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = async_mpsc::unbounded_channel();
    // Reading the terminal cannot be cancelled, so this thread ends with the process.
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Tells of requests and health changes without holding up the workers.
struct Teller(mpsc::Sender<Event>);

enum Event {
    Request(String),
    Health(String),
}

impl Observer for Teller {
    fn request(&self, record: &Record<'_>) {
        let from = match (record.backend, record.reason) {
            (Some(backend), None) => backend.to_owned(),
            (Some(backend), Some(reason)) => format!("{backend} ({reason})"),
            (None, Some(reason)) => format!("lb ({reason})"),
            (None, None) => "lb".to_owned(),
        };
        let tries = if record.tries > 1 { format!(", {} tries", record.tries) } else { String::new() };
        let line = format!(
            "{} {}{} -> {from} {} in {:.1} ms{tries}",
            record.method,
            record.host,
            record.target,
            record.status,
            record.duration.as_secs_f64() * 1e3,
        );
        let _ = self.0.send(Event::Request(line)); // the printer ends with the demo
    }

    fn transition(&self, pool: &str, transition: &Transition) {
        let line = format!("** {pool}: {} ({}) {}", transition.name, transition.addr, transition.change);
        let _ = self.0.send(Event::Health(line));
    }
}

fn print(inbox: &mpsc::Receiver<Event>) {
    let mut second = Instant::now();
    let (mut printed, mut silent) = (0, 0u64);
    loop {
        let event = inbox.recv_timeout(Duration::from_secs(1));
        if second.elapsed() >= Duration::from_secs(1) {
            if silent > 0 {
                crate::say(format_args!("... and {silent} requests more"));
            }
            (second, printed, silent) = (Instant::now(), 0, 0);
        }
        match event {
            Ok(Event::Health(line)) => crate::say(line),
            Ok(Event::Request(line)) if printed < LINES_PER_SECOND => {
                crate::say(line);
                printed += 1;
            }
            Ok(Event::Request(_)) => silent += 1,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}
