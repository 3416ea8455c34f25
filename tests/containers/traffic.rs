//! Clients that go on asking while something happens, and note whatever is not as it should be.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lb_testkit::RawClient;
use tokio::task::JoinSet;

/// Between two requests of a client: the point is that there is always one, not how many.
const PAUSE: Duration = Duration::from_millis(2);

/// Clients at work, each with one request at a time on a connection that it keeps.
pub(crate) struct Traffic {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    tally: Mutex<Tally>,
}

/// What came of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Good answers: 200 with a whole sentence, by the endpoint that it tells.
    pub(crate) answers: BTreeMap<String, usize>,
    /// All else.
    pub(crate) failures: Vec<String>,
}

impl Traffic {
    /// So many clients send `GET /` with this Host.
    pub(crate) fn start(balancer: SocketAddr, host: &'static str, clients: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(client(balancer, host, Arc::clone(&shared)));
        }
        Self { clients: tasks, shared }
    }

    /// What came until now.
    pub(crate) fn tally(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this endpoint has answered `more` times from now on.
    ///
    /// # Panics
    /// After [`DEADLINE`](lb_testkit::DEADLINE).
    pub(crate) async fn answered_by(&self, endpoint: &str, more: usize) {
        let count = || self.tally().answers.get(endpoint).copied().unwrap_or_default();
        let before = count();
        let waiting = async {
            while count() < before + more {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(lb_testkit::DEADLINE, waiting).await;
        assert!(waited.is_ok(), "{endpoint} does not answer: {:?}", self.tally());
    }

    /// Waits until this endpoint has answered nothing for a while, in which others have.
    ///
    /// # Panics
    /// After [`DEADLINE`](lb_testkit::DEADLINE).
    pub(crate) async fn silent(&self, endpoint: &str) {
        let counts = || {
            let answers = self.tally().answers;
            (answers.get(endpoint).copied().unwrap_or_default(), answers.values().sum::<usize>())
        };
        let waiting = async {
            let (mut its, mut all) = counts();
            while counts().1 < all + 50 {
                tokio::time::sleep(PAUSE).await;
                if counts().0 > its {
                    (its, all) = counts();
                }
            }
        };
        let waited = tokio::time::timeout(lb_testkit::DEADLINE, waiting).await;
        assert!(waited.is_ok(), "{endpoint} goes on answering: {:?}", self.tally());
    }

    /// Ends it, after the requests under way.
    pub(crate) async fn end(mut self) -> Tally {
        self.shared.ended.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        self.tally()
    }
}

async fn client(balancer: SocketAddr, host: &'static str, shared: Arc<Shared>) {
    let mut connection: Option<RawClient> = None;
    while !shared.ended.load(Ordering::Relaxed) {
        let came = async {
            let mut client = match connection.take() {
                Some(client) => client,
                None => RawClient::connect(balancer).await?,
            };
            let answer = client.get("/", host).await?;
            std::io::Result::Ok((client, answer))
        };
        let found = match came.await {
            Err(error) => Err(error.to_string()),
            Ok((client, answer)) => {
                let text = answer.body.text();
                let endpoint = text.split_once("Serving on ").and_then(|(_, rest)| rest.split_once(". "));
                connection = Some(client);
                match endpoint {
                    Some((endpoint, _)) if answer.status() == 200 && answer.body.is_complete() => {
                        Ok(endpoint.to_owned())
                    }
                    _ => Err(format!("{answer} {:?}", answer.header("x-lb-reason"))),
                }
            }
        };
        {
            let mut tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
            match found {
                Ok(endpoint) => *tally.answers.entry(endpoint).or_default() += 1,
                Err(failure) => tally.failures.push(failure),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
