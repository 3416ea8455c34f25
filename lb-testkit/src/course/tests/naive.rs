//! A balancer as a learner might write it, driven by the chapters' own TOML: it shows that the suites
//! can be passed by something other than `lb`, and with a defect, that they notice.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use lb_core::prng::Prng;
use tokio::net::{TcpListener, TcpStream};
use toml::{Table, Value};

use crate::{Head, RawClient, Response, wire::Wire};

pub(super) struct Naive {
    routes: Vec<Table>,
    pools: Vec<(String, Pool)>,
    defect: &'static str,
}

struct Pool {
    algorithm: String,
    backends: Vec<(SocketAddr, usize)>,
    health: Option<(String, Duration, Duration)>,
    state: Mutex<State>,
}

struct State {
    healthy: Vec<bool>,
    open: Vec<usize>,
    position: usize,
    prng: Prng,
}

fn text<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a str> {
    let (last, first) = keys.split_last()?;
    let inner = first.iter().try_fold(table, |table, key| table.get(*key)?.as_table())?;
    inner.get(*last)?.as_str()
}

fn list<'a>(table: &'a Table, section: &str, key: &str) -> Vec<&'a str> {
    let values = table.get(section).and_then(|section| section.get(key)).and_then(Value::as_array);
    values.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn pairs<'a>(table: &'a Table, section: &str, key: &str) -> Vec<(&'a str, &'a str)> {
    let values = table.get(section).and_then(|section| section.get(key)).and_then(Value::as_table);
    values.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
}

fn milliseconds(table: &Table, key: &str) -> Duration {
    let text = text(table, &["health_check", key]).unwrap_or_default();
    Duration::from_millis(text.trim_end_matches("ms").parse().unwrap())
}

impl Pool {
    fn new(table: &Table) -> Self {
        let backends = table["backends"].as_array().unwrap().iter().map(|backend| match backend {
            Value::Table(table) => (
                table["address"].as_str().unwrap().parse().unwrap(),
                table["weight"].as_integer().unwrap() as usize,
            ),
            other => (other.as_str().unwrap().parse().unwrap(), 1),
        });
        let backends: Vec<_> = backends.collect();
        let health = text(table, &["health_check", "path"]);
        let health =
            health.map(|path| (path.into(), milliseconds(table, "interval"), milliseconds(table, "timeout")));
        let count = backends.len();
        let prng = Prng::new(1);
        let state = State { healthy: vec![true; count], open: vec![0; count], position: 0, prng };
        Self {
            algorithm: text(table, &["algorithm"]).unwrap().into(),
            backends,
            health,
            state: Mutex::new(state),
        }
    }

    fn pick(&self, tried: &[usize], defect: &str) -> Option<usize> {
        let mut state = self.state.lock().unwrap();
        let eligible = |&index: &usize| state.healthy[index] && !tried.contains(&index);
        let candidates: Vec<_> = (0..self.backends.len()).filter(eligible).collect();
        let turns: Vec<_> =
            candidates.iter().flat_map(|&index| std::iter::repeat_n(index, self.backends[index].1)).collect();
        let algorithm = defect.strip_prefix("always_").unwrap_or(&self.algorithm);
        match algorithm {
            "round_robin" => {
                state.position += 1;
                turns.get(state.position % turns.len().max(1)).copied()
            }
            "least_request" => candidates.into_iter().min_by_key(|&index| state.open[index]),
            "first" => candidates.first().copied(),
            _ => {
                let drawn = state.prng.below(candidates.len() as u64) as usize;
                candidates.get(drawn).copied()
            }
        }
    }

    async fn probe(&self, index: usize, path: &str, defect: &str) -> bool {
        let addr = self.backends[index].0;
        let answer = async { RawClient::connect(addr).await?.get(path, &addr.to_string()).await };
        answer.await.is_ok_and(|answer| answer.status() / 100 == 2 || defect == "any_status_is_healthy")
    }
}

impl Naive {
    pub(super) async fn start(config: &str, defect: &'static str) -> SocketAddr {
        Self::serve_at(config, defect, ([127, 0, 0, 1], 0).into()).await
    }

    /// At this address, until the end of the test.
    pub(super) async fn listen(config: &str, listen: SocketAddr) {
        Self::serve_at(config, "", listen).await;
    }

    async fn serve_at(config: &str, defect: &'static str, listen: SocketAddr) -> SocketAddr {
        let table: Table = config.parse().unwrap();
        let routes = table["route"].as_array().unwrap().iter().map(|route| route.as_table().unwrap().clone());
        let pools = table["pool"].as_table().unwrap().iter();
        let pools = pools.map(|(name, pool)| (name.clone(), Pool::new(pool.as_table().unwrap())));
        let naive = Arc::new(Self { routes: routes.collect(), pools: pools.collect(), defect });
        for index in 0..naive.pools.len() {
            tokio::spawn(Arc::clone(&naive).probe_all(index));
        }
        let listener = TcpListener::bind(listen).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&naive).serve(stream));
            }
        });
        addr
    }

    async fn probe_all(self: Arc<Self>, index: usize) {
        let pool = &self.pools[index].1;
        let Some((path, interval, timeout)) = pool.health.clone() else { return };
        if self.defect == "no_probes" {
            return;
        }
        loop {
            for index in 0..pool.backends.len() {
                let passed = tokio::time::timeout(timeout, pool.probe(index, &path, self.defect)).await;
                pool.state.lock().unwrap().healthy[index] =
                    passed.unwrap_or(self.defect == "no_probe_timeout");
            }
            tokio::time::sleep(interval).await;
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let mut wire = Wire::new(stream);
        if let Ok(Some(head)) = wire.head().await {
            let (status, content_type, body) = self.answer(&head).await;
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let _ = wire.write(answer.as_bytes()).await;
        }
        wire.close().await;
    }

    fn route(&self, head: &Head) -> Option<&Table> {
        let mut host = head.headers.get("host").unwrap_or_default().to_owned();
        if self.defect != "port_matters" {
            host = host.split(':').next().unwrap_or_default().to_owned();
        }
        if self.defect != "case_matters" {
            host = host.to_lowercase();
        }
        let path = head.word(1).split('?').next();
        let by_host = self.routes.iter().find(|route| text(route, &["match", "host"]) == Some(&host));
        let by_path =
            self.routes.iter().find(|route| text(route, &["match", "path"]).is_some_and(|p| Some(p) == path));
        let any = self.routes.iter().find(|route| !route.contains_key("match") || self.defect == "no_404");
        if self.defect == "paths_first" { by_path.or(by_host).or(any) } else { by_host.or(by_path).or(any) }
    }

    fn forbids(&self, route: &Table, head: &Head) -> bool {
        let ip = head.headers.get("x-forwarded-for").unwrap_or("127.0.0.1");
        let rules = if self.defect == "one_firewall" { &self.routes[0] } else { route };
        let path = head.word(1).split('?').next().unwrap_or_default();
        let ips = list(rules, "firewall", "deny_ips").contains(&ip) && self.defect != "no_ip_rules";
        ips || list(rules, "firewall", "deny_paths").contains(&path) && self.defect != "no_path_rules"
    }

    async fn answer(&self, head: &Head) -> (u16, String, String) {
        let plain = |status, body: &str| (status, "text/plain".to_owned(), body.to_owned());
        let Some(route) = self.route(head) else { return plain(404, "Not Found") };
        let late = self.defect == "firewall_late";
        if !late && self.forbids(route, head) {
            return plain(403, "Forbidden");
        }
        let name = text(route, &["pool"]).unwrap();
        let pool = &self.pools.iter().find(|(other, _)| other == name).unwrap().1;
        let mut tried = Vec::new();
        while let Some(index) = pool.pick(&tried, self.defect) {
            pool.state.lock().unwrap().open[index] += 1;
            let answer = self.forward(route, head, pool.backends[index].0).await;
            pool.state.lock().unwrap().open[index] -= 1;
            match answer {
                Ok(_) if late && self.forbids(route, head) => return plain(403, "Forbidden"),
                Ok(answer) => {
                    let content_type = answer.header("content-type").unwrap_or_default().to_owned();
                    return (answer.status(), content_type, answer.body.text());
                }
                Err(_) if self.defect == "no_retries" => return plain(502, "Bad Gateway"),
                Err(_) => tried.push(index),
            }
        }
        match head.headers.get("accept") {
            _ if !tried.is_empty() => plain(502, "Bad Gateway"),
            Some("application/json") if self.defect != "no_json" => {
                (503, "application/json".into(), "{\"error\": \"No healthy backends\"}".into())
            }
            _ => plain(503, "No Backends servers available"),
        }
    }

    async fn forward(&self, route: &Table, head: &Head, addr: SocketAddr) -> io::Result<Response> {
        let edits = |what: &str| self.defect != what;
        let (path, query) = head.word(1).split_once('?').unwrap_or((head.word(1), ""));
        let mut path = path.to_owned();
        if let Some(rewritten) = text(route, &["request", "rewrite_path"]).filter(|_| edits("keeps_path")) {
            path = rewritten.to_owned();
        }
        for (from, to) in pairs(route, "request", "replace_path").into_iter().filter(|_| edits("keeps_path"))
        {
            path = path.replace(from, to);
        }
        let removed = if edits("keeps_query") { list(route, "request", "remove_query") } else { Vec::new() };
        let set = if edits("adds_no_query") { pairs(route, "request", "set_query") } else { Vec::new() };
        let kept = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !removed.contains(&pair.split('=').next().unwrap()));
        let mut query: Vec<_> = kept.map(str::to_owned).collect();
        query.extend(set.iter().map(|(name, value)| format!("{name}={value}")));
        if self.defect == "reorders_query" {
            query.reverse();
        }
        let target = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };

        let mut out = format!("GET {target} HTTP/1.1\r\n");
        let removed = if edits("keeps_host") { list(route, "request", "remove_headers") } else { Vec::new() };
        let set = if edits("adds_no_header") { pairs(route, "request", "set_headers") } else { Vec::new() };
        let gone = |name: &str| removed.contains(&name) || set.iter().any(|(other, _)| *other == name);
        for (name, value) in head.headers.iter().filter(|(name, _)| !gone(name)) {
            out += &format!("{name}: {value}\r\n");
        }
        if removed.contains(&"Host") {
            out += &format!("Host: {addr}\r\n");
        }
        for (name, value) in set {
            out += &format!("{name}: {value}\r\n");
        }
        let mut client = RawClient::connect(addr).await?;
        client.send(out + "\r\n").await?;
        client.response().await
    }
}
