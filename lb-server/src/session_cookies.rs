//! Sticky sessions at the border to HTTP: keys from where the configuration says they are, cookies from
//! requests, and cookies for answers. What they say is `lb_core::sticky`'s.

use std::{collections::BTreeMap, fs, io};

use http::HeaderValue;
use lb_core::{
    config::{KeySource, Sticky, Valid},
    exchange::{Exchange, PoolHandle},
    limits::STICKY_KEY_BYTES_MIN,
    sticky::{Session, Signer, set_cookie},
};

use crate::{net::Net, request_head::RequestHead, snapshot::SharedPool};

const KEY_BYTES: usize = 32;

/// The keys of a configuration's pools, by name.
pub(crate) struct SessionKeys(BTreeMap<String, Vec<u8>>);

impl SessionKeys {
    /// Reads the keys of all pools with sticky sessions. Those that have none get that of `start`.
    ///
    /// # Errors
    /// The name of a pool whose key cannot be had, and why.
    pub(crate) fn load(config: &Valid, start: &StartKey) -> Result<Self, (String, String)> {
        let sticky = config.pools.iter().filter_map(|(name, pool)| Some((name, pool.sticky.as_ref()?)));
        let keys = sticky.map(|(name, sticky)| match key(name, sticky, start) {
            Ok(key) => Ok((name.clone(), key)),
            Err(why) => Err((name.clone(), why)),
        });
        keys.collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn of(&self, pool: &str) -> Option<&[u8]> {
        self.0.get(pool).map(Vec::as_slice)
    }
}

/// The key for pools without one of their own: random, and the same as long as the server runs.
pub(crate) struct StartKey([u8; KEY_BYTES]);

impl StartKey {
    /// # Errors
    /// When the system has no randomness to give.
    pub(crate) fn draw(net: &Net) -> io::Result<Self> {
        let mut key = [0; KEY_BYTES];
        net.fill_secret(&mut key)?;
        Ok(Self(key))
    }
}

fn key(pool: &str, sticky: &Sticky, start: &StartKey) -> Result<Vec<u8>, String> {
    let key = match &sticky.key {
        None => {
            tracing::warn!(
                pool,
                "sticky sessions without a secret: they end when lb does, and no other lb knows them"
            );
            return Ok(start.0.to_vec());
        }
        Some(KeySource::Text(secret)) => secret.0.clone().into_bytes(),
        Some(KeySource::File(name)) => {
            fs::read(name).map_err(|error| format!("{name}: {error}"))?.trim_ascii().to_vec()
        }
        Some(KeySource::Env(name)) => {
            let value = std::env::var_os(name).ok_or_else(|| format!("the variable {name} is not set"))?;
            value.into_encoded_bytes().trim_ascii().to_vec()
        }
    };
    match key.len() {
        STICKY_KEY_BYTES_MIN.. => Ok(key),
        length => Err(format!("a key of {length} bytes, expected at least {STICKY_KEY_BYTES_MIN}")),
    }
}

/// The sessions of one pool.
pub(crate) struct SessionCookies {
    config: Sticky,
    pub(crate) signer: Signer,
}

impl SessionCookies {
    pub(crate) fn new(config: &Sticky, key: &[u8], pool: &str) -> Self {
        Self { config: config.clone(), signer: Signer::new(key, pool) }
    }

    /// The session that a request belongs to at `now`, in seconds of the Unix epoch.
    pub(crate) fn find(&self, head: &RequestHead, now: u64) -> Option<Session> {
        head.values("cookie").find_map(|field| self.signer.find(field, &self.config.cookie, now))
    }

    /// `Set-Cookie` for the answer that `exchange` passes on to a request of `session`.
    pub(crate) fn answer(
        &self,
        session: Option<Session>,
        exchange: &Exchange<SharedPool>,
        pool: &SharedPool,
        now: u64,
    ) -> Option<HeaderValue> {
        let (endpoint, addr) = exchange.endpoint()?;
        let renews = || pool.with(|state| state.renews_sessions(endpoint));
        let handle = self.signer.handle(addr);
        let text = set_cookie(&self.config, &self.signer, session, handle, renews, now)?;
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }
}
