//! Mock backends: the cast of the course, and whatever else a test needs.

mod app;
mod connection;
mod rules;

use std::{
    io,
    net::{Shutdown, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use self::{app::App, rules::Rules};
use crate::{Behaviour, Connections, DEADLINE, OnAccept, Port, Recorded, record::Record};

/// A backend that runs: a small HTTP/1.1 server in the current tokio runtime (of either kind), on a
/// port of 127.0.0.1 that stays its own while it is stopped. Dropping it ends it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use lb_testkit::{Backend, Behaviour, RawClient};
/// let mango = Backend::mango().start().await?;
/// let mut client = RawClient::connect(mango.addr()).await?;
/// let answer = client.get("/", "www.mango.com").await?;
/// assert!(answer.body.text().starts_with("This is the mango application."));
/// assert_eq!(mango.requests()[0].header("host"), Some("www.mango.com"));
///
/// mango.behave_next(1, Behaviour::fail());
/// assert_eq!(client.get("/", "www.mango.com").await?.status(), 500);
///
/// mango.stop().await; // connections end, new ones are refused
/// mango.restart().await?; // the same port again
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Backend {
    port: Port,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

/// What a backend is to be; [`Builder::start`] makes it run.
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    app: App,
    name: String,
    endpoint: Option<String>,
    listen: SocketAddr,
    health_paths: Vec<String>,
    rules: Rules,
    on_request: Option<Observer>,
}

type Observer = Box<dyn Fn(&Recorded) + Send + Sync>;

impl Backend {
    /// `This is the mango application. ...`
    pub fn mango() -> Builder {
        Self::app("mango")
    }

    /// `This is the apple application. ...`
    pub fn apple() -> Builder {
        Self::app("apple")
    }

    /// `This is the {app} application. ...`, with the backend's endpoint and parts of the request.
    pub fn app(app: &str) -> Builder {
        Builder::new(app, App::Sentence { name: app.to_owned(), bare: false })
    }

    /// One of the guide's: `{"message": "Hello from {name}"}`.
    pub fn guide(name: &str) -> Builder {
        Builder::new(name, App::Greeting { name: name.to_owned() })
    }

    /// Always this text.
    pub fn text(said: &str) -> Builder {
        Builder::new("text", App::Text(said.to_owned()))
    }

    /// What the builder called it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where it listens, or will again.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// What it calls itself in its answers; the address unless the builder says otherwise.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    /// Whether it listens.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running().is_some()
    }

    /// Ends as a killed process does: no new connections, and all that are open end at once. When this
    /// returns, connecting is refused.
    pub async fn stop(&self) {
        let running = self.running().take();
        if let Some(running) = running {
            running.stop().await;
        }
    }

    /// Listens again at the same port; what is still running is stopped first. Behaviour and record
    /// stay.
    ///
    /// # Errors
    /// What the system says.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        let running = Running::start(self.port.listen()?, Arc::clone(&self.shared));
        *self.running() = Some(running);
        Ok(())
    }

    /// Does this with every request from now on, health checks included; forgets all other behaviours.
    pub fn behave(&self, behaviour: Behaviour) {
        let mut rules = self.shared.rules();
        *rules = Rules::of(behaviour, &rules);
    }

    /// Does this with requests that are no health checks.
    pub fn behave_for_traffic(&self, behaviour: Behaviour) {
        self.shared.rules().traffic = behaviour;
    }

    /// Does this with health checks: requests for one of the health paths.
    pub fn behave_for_health(&self, behaviour: Behaviour) {
        self.shared.rules().health = behaviour;
    }

    /// Does this with requests for this path, health checks or not.
    pub fn behave_at(&self, path: &str, behaviour: Behaviour) {
        self.shared.rules().set_path(path, behaviour);
    }

    /// Does this with the next `requests` that are no health checks, before all other behaviours; calls
    /// queue up.
    pub fn behave_next(&self, requests: usize, behaviour: Behaviour) {
        self.shared.rules().next.extend(std::iter::repeat_n(behaviour, requests));
    }

    /// Does this with new connections.
    pub fn on_accept(&self, on_accept: OnAccept) {
        self.shared.rules().on_accept = on_accept;
    }

    /// Closes each connection after so many requests (none: never), saying so in the last answer if
    /// `announced`.
    pub fn close_after(&self, requests: Option<u64>, announced: bool) {
        self.shared.rules().close_after = requests.map(|requests| (requests, announced));
    }

    /// Forgets every behaviour: the application's own answers again.
    pub fn behave_normally(&self) {
        let mut rules = self.shared.rules();
        *rules = Rules::of(Behaviour::own(), &rules);
    }

    /// The requests that arrived, in order of arrival, without health checks; the newest 10,000.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.recorded(|request| !request.is_health_check)
    }

    /// The health checks that arrived.
    #[must_use]
    pub fn health_checks(&self) -> Vec<Recorded> {
        self.recorded(|request| request.is_health_check)
    }

    /// Forgets the requests recorded so far.
    pub fn forget_requests(&self) {
        self.shared.record.forget_requests();
    }

    /// How many connections it has and had.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.shared.record.read(|state| state.connections)
    }

    /// Waits until the heads of `count` requests (health checks apart) have arrived, and gives the
    /// record.
    ///
    /// # Errors
    /// `TimedOut` after [`DEADLINE`].
    pub async fn wait_for_requests(&self, count: usize) -> io::Result<Vec<Recorded>> {
        self.wait_until(&format!("{count} requests"), |requests| requests.len() >= count).await
    }

    /// Waits until `enough` says so of the requests (health checks apart), and gives the record. It is
    /// asked whenever something changes, growing bodies included.
    ///
    /// # Errors
    /// `TimedOut` after [`DEADLINE`]; `what` is then in the message.
    pub async fn wait_until(
        &self,
        what: &str,
        mut enough: impl FnMut(&[&Recorded]) -> bool,
    ) -> io::Result<Vec<Recorded>> {
        let enough = |state: &crate::record::State| {
            let requests: Vec<_> = state.requests.iter().filter(|request| !request.is_health_check).collect();
            enough(&requests)
        };
        self.shared.record.wait(DEADLINE, format_args!("{what} at {}", self.name()), enough).await?;
        Ok(self.requests())
    }

    /// Waits until `count` more health checks than now have arrived.
    ///
    /// # Errors
    /// `TimedOut` after [`DEADLINE`].
    pub async fn wait_for_health_checks(&self, count: usize) -> io::Result<()> {
        let newest = self.health_checks().last().map(|check| check.number);
        let what = format!("{count} health checks at {}", self.name());
        let fresh = |request: &&Recorded| request.is_health_check && Some(request.number) > newest;
        let enough = |state: &crate::record::State| state.requests.iter().filter(fresh).count() >= count;
        self.shared.record.wait(DEADLINE, what, enough).await
    }

    /// Waits until `enough` says so of the connections.
    ///
    /// # Errors
    /// `TimedOut` after [`DEADLINE`].
    pub async fn wait_for_connections(
        &self,
        mut enough: impl FnMut(Connections) -> bool,
    ) -> io::Result<Connections> {
        let what = format!("a number of connections at {}", self.name());
        self.shared.record.wait(DEADLINE, what, |state| enough(state.connections)).await?;
        Ok(self.connections())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recorded(&self, wanted: impl Fn(&Recorded) -> bool) -> Vec<Recorded> {
        self.shared.record.read(|state| state.requests.iter().filter(|r| wanted(r)).cloned().collect())
    }
}

impl Builder {
    fn new(name: &str, app: App) -> Self {
        let health_paths = ["/health", "/healthcheck"].map(str::to_owned).to_vec();
        Self {
            app,
            name: name.to_owned(),
            endpoint: None,
            listen: ([127, 0, 0, 1], 0).into(),
            rules: Rules::new(health_paths.clone()),
            health_paths,
            on_request: None,
        }
    }

    /// How messages call it; default the application's name.
    pub fn name(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// What it calls itself in its answers; default the address that it listens at.
    pub fn endpoint(self, endpoint: &str) -> Self {
        Self { endpoint: Some(endpoint.to_owned()), ..self }
    }

    /// Where it listens; default a free port of 127.0.0.1.
    pub fn listen(self, addr: SocketAddr) -> Self {
        Self { listen: addr, ..self }
    }

    /// Cuts the sentence of mango and apple after its first full stop.
    pub fn bare(mut self) -> Self {
        if let App::Sentence { bare, .. } = &mut self.app {
            *bare = true;
        }
        self
    }

    /// Counts requests for this path as health checks too, besides `/health` and `/healthcheck`.
    pub fn health_path(mut self, path: &str) -> Self {
        self.health_paths.push(path.to_owned());
        self.rules.health_paths.push(path.to_owned());
        self
    }

    /// Waits so long before each answer, health checks included.
    pub fn latency(self, latency: Duration) -> Self {
        self.behaviour(Behaviour::own().after(latency))
    }

    /// Behaves so from the start.
    pub fn behaviour(mut self, behaviour: Behaviour) -> Self {
        self.rules = Rules::of(behaviour, &self.rules);
        self
    }

    /// Calls this after each request, health checks included, from the task of its connection.
    pub fn on_request(self, observer: impl Fn(&Recorded) + Send + Sync + 'static) -> Self {
        Self { on_request: Some(Box::new(observer)), ..self }
    }

    /// Starts it; it listens when this returns.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start(self) -> io::Result<Backend> {
        let port = Port::at(self.listen)?;
        let shared = Arc::new(Shared {
            endpoint: self.endpoint.unwrap_or_else(|| port.addr().to_string()),
            name: self.name,
            app: self.app,
            rules: Mutex::new(self.rules),
            record: Record::new(),
            on_request: self.on_request,
        });
        let backend = Backend { port, shared, running: Mutex::new(None) };
        backend.restart().await?;
        Ok(backend)
    }
}

/// What all connections of a backend share.
struct Shared {
    name: String,
    endpoint: String,
    app: App,
    rules: Mutex<Rules>,
    record: Record,
    on_request: Option<Observer>,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, number: u64) {
        if let Some(observer) = &self.on_request
            && let Some(recorded) = self.record.get(number)
        {
            observer(&recorded);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).field("endpoint", &self.endpoint).finish()
    }
}

/// The task that accepts connections.
#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(listener: TcpListener, shared: Arc<Shared>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(accept(listener, shared, stopped)) }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        // An error here is a panic in the task, which has been reported already.
        let _ = self.task.await;
    }
}

/// Accepts until told to stop, or until the sender of that word is gone.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(stream, Arc::clone(&shared)));
                }
                // Out of file descriptors, most likely: others may need time to give some back.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    // A process that is being started by another thread has this descriptor as well, until it runs its own
    // program; so that nobody listens any more, the socket has to be told.
    let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
    drop(listener);
    connections.shutdown().await;
}

#[cfg(test)]
mod tests;
