//! Chapter 6: load-balancing algorithms.

use super::{Cast, Kind, Miss, Role, Stage, Tempo, Verdict, case::cases, pool, route, stage::Ask};
use crate::RawClient;

pub(super) const ROLES: &[Role] = &[
    Role { name: "mango1", kind: Kind::App("mango"), port: 8081 },
    Role { name: "mango2", kind: Kind::App("mango"), port: 8082 },
    Role { name: "mango3", kind: Kind::App("mango"), port: 9081 },
    Role { name: "orange", kind: Kind::Nobody, port: 1111 },
];

cases! { Algorithms:
    random_has_no_order = "Random: each backend gets about as many, in no order.",
    round_robin_alternates = "Round robin over two backends alternates exactly: 1, 2, 1, 2.",
    weights_hold = "Weighted round robin: weights 3 and 1 give three requests and one of every four.",
    least_connections_spreads = "Least connections: with every request still open, all have the same number.",
    the_fewest_open_wins = "Least connections: 10, 5 and 2 open gives the third.",
    no_candidates_give_none = "No candidates gives none, never a crash.",
}

const ALL: [&str; 3] = ["mango1", "mango2", "mango3"];

pub(super) fn config(cast: &Cast, tempo: Tempo) -> String {
    let [mango1, mango2] = ["mango1", "mango2"].map(|name| cast.address(name));
    let weighted = format!(
        "[pool.weighted]\nalgorithm = \"round_robin\"\n\
         backends = [{{ address = \"{mango1}\", weight = 3 }}, {{ address = \"{mango2}\", weight = 1 }}]\n\n"
    );
    [
        pool(cast, "random", "random", &["mango1", "mango2"]),
        pool(cast, "robin", "round_robin", &["mango1", "mango2"]),
        weighted,
        pool(cast, "least", "least_request", &ALL),
        pool(cast, "none", "round_robin", &["orange"]),
        tempo.sections("none", "/healthcheck"),
        route("random", "host = \"www.random.com\"", "random"),
        route("robin", "host = \"www.robin.com\"", "robin"),
        route("weighted", "host = \"www.weighted.com\"", "weighted"),
        route("least", "host = \"www.least.com\"", "least"),
        route("none", "host = \"www.none.com\"", "none"),
    ]
    .concat()
}

/// Who answered each of `times` requests, one after the other.
async fn order(stage: &Stage, ask: &Ask, times: usize, hint: &str) -> Result<Vec<&'static str>, Miss> {
    let mut order = Vec::new();
    for _ in 0..times {
        let answer = ask.send().await;
        match stage.who(&answer).filter(|_| answer.status() == Some(200)) {
            Some(name) => order.push(name),
            None => return Err(answer.miss("200 from one of the pool's backends", hint)),
        }
    }
    Ok(order)
}

fn must(holds: bool, ask: &Ask, order: &[&str], expected: &str, hint: &str) -> Verdict {
    if holds {
        return Ok(());
    }
    let sent = format!("{} times {ask}", order.len());
    Err(Miss::failed(sent, expected, format!("answers from {}", order.join(", ")), hint))
}

/// Fails by bad luck once in some hundred million runs.
async fn random_has_no_order(stage: &Stage) -> Verdict {
    let hint = "Draw anew for each request, each backend with the same chance.";
    let ask = stage.get("/").host("www.random.com");
    let order = order(stage, &ask, 200, hint).await?;
    let mango1 = order.iter().filter(|name| **name == "mango1").count();
    must((60..=140).contains(&mango1), &ask, &order, "each of two backends 60 to 140 times", hint)?;
    let repeats = order.windows(2).filter(|pair| pair[0] == pair[1]).count();
    must((60..=140).contains(&repeats), &ask, &order, "about every other answer from the one before", hint)
}

async fn round_robin_alternates(stage: &Stage) -> Verdict {
    let hint = "Keep one position for the pool, shared by all threads, and move it by one at each request.";
    let ask = stage.get("/").host("www.robin.com");
    let order = order(stage, &ask, 20, hint).await?;
    must(order.windows(2).all(|pair| pair[0] != pair[1]), &ask, &order, "the two in turns", hint)
}

async fn weights_hold(stage: &Stage) -> Verdict {
    let hint = "In every four requests in a row the first backend has three and the second one.";
    let ask = stage.get("/").host("www.weighted.com");
    let order = order(stage, &ask, 40, hint).await?;
    let holds = order.chunks(4).all(|four| four.iter().filter(|name| **name == "mango1").count() == 3);
    must(holds, &ask, &order, "mango1 three times in every four requests, mango2 once", hint)
}

/// Requests that are open: for each backend of [`ALL`] the clients that wait there.
struct Open<'a> {
    stage: &'a Stage,
    ask: Ask,
    clients: [Vec<RawClient>; 3],
}

const LEAST_HINT: &str = "Count the requests that each backend has not finished yet; the one with the \
                          fewest gets the next. It takes a balancer that serves many requests at once.";

impl<'a> Open<'a> {
    async fn none(stage: &'a Stage) -> Result<Self, Miss> {
        for name in ALL {
            stage.cast.the(name)?.hold().await?;
        }
        Ok(Self { stage, ask: stage.get("/").host("www.least.com"), clients: Default::default() })
    }

    fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|index| self.clients[index].len())
    }

    /// How many requests each backend has seen so far.
    async fn arrived(&self) -> Result<[usize; 3], Miss> {
        let mut arrived = [0; 3];
        for (name, arrived) in ALL.iter().zip(&mut arrived) {
            *arrived = self.stage.cast.the(name)?.targets().await?.len();
        }
        Ok(arrived)
    }

    /// Opens one more request, and says which backend got it.
    async fn one_more(&mut self) -> Result<usize, Miss> {
        let before = self.arrived().await?;
        let missed = |got: String| Miss::failed(self.ask.to_string(), "a backend to get it", got, LEAST_HINT);
        let client = self.ask.start().await.map_err(|error| missed(error.to_string()))?;
        let mut patience = self.stage.patience();
        loop {
            let now = self.arrived().await?;
            if let Some(index) = (0..3).find(|&index| now[index] > before[index]) {
                self.clients[index].push(client);
                return Ok(index);
            }
            let got = format!("none; {:?} requests are open at {ALL:?}", self.counts());
            patience.again(missed(got)).await?;
        }
    }

    /// Ends the oldest requests of a backend until `left` are open.
    async fn leave(&mut self, index: usize, left: usize) -> Verdict {
        let ended = self.clients[index].len().saturating_sub(left);
        self.stage.cast.the(ALL[index])?.release(ended).await?;
        for mut client in self.clients[index].drain(..ended) {
            let answer = super::Answer { sent: self.ask.to_string(), came: client.response().await };
            answer.contains(200, "mango", LEAST_HINT)?;
        }
        Ok(())
    }
}

async fn least_connections_spreads(stage: &Stage) -> Verdict {
    let mut open = Open::none(stage).await?;
    for _ in 0..30 {
        open.one_more().await?;
    }
    let counts = open.counts();
    if counts != [10, 10, 10] {
        let (sent, got) = (format!("30 times {}", open.ask), format!("{counts:?} open at {ALL:?}"));
        return Err(Miss::failed(sent, "ten open at each of three backends", got, LEAST_HINT));
    }
    for index in 0..3 {
        open.leave(index, 0).await?;
    }
    Ok(())
}

async fn the_fewest_open_wins(stage: &Stage) -> Verdict {
    let mut open = Open::none(stage).await?;
    while open.counts().iter().any(|&count| count < 10) {
        if open.counts().iter().sum::<usize>() == 60 {
            let got = format!("{:?} open at {ALL:?}", open.counts());
            return Err(Miss::failed(format!("60 times {}", open.ask), "about 20 at each", got, LEAST_HINT));
        }
        open.one_more().await?;
    }
    for _ in 0..4 {
        for (index, left) in [(0, 10), (1, 5), (2, 2)] {
            open.leave(index, left).await?;
        }
        // Two, three and four are fewer than five: three in a row go to the third.
        for open_there in 2..5 {
            let index = open.one_more().await?;
            if index != 2 {
                let sent = format!("{} while 10, 5 and {open_there} requests are open at {ALL:?}", open.ask);
                return Err(Miss::failed(
                    sent,
                    "mango3 to get it",
                    format!("{} got it", ALL[index]),
                    LEAST_HINT,
                ));
            }
        }
    }
    Ok(())
}

async fn no_candidates_give_none(stage: &Stage) -> Verdict {
    let hint = "An empty choice is a case like any other: answer 502 or 503, and go on serving.";
    for _ in 0..20 {
        let answer = stage.get("/").host("www.none.com").send().await;
        answer.must(matches!(answer.status(), Some(502 | 503)), "502 or 503", hint)?;
    }
    stage.get("/").host("www.robin.com").send().await.contains(200, "mango", hint)
}
