//! The tables, in the order of the page.

mod balls;
mod caps;
mod choices;
mod hashing;
mod health;
mod queues;
mod retries;
mod sequences;
mod splitting;

use crate::{cell::Table, lab::Lab};

pub(crate) const ALL: &[fn(&Lab) -> Table] = &[
    queues::random_splitting,
    queues::slots,
    caps::central_queue,
    caps::loss,
    caps::bounded_queue,
    queues::general_service,
    queues::processor_sharing,
    splitting::round_robin,
    splitting::unequal,
    choices::shortest_of_two,
    choices::shortest,
    choices::supermarket,
    choices::hundred,
    choices::few,
    choices::five,
    choices::idle_queue,
    choices::slow_servers,
    balls::one_choice,
    balls::two_choices,
    sequences::smooth,
    sequences::least_deviation,
    hashing::ring,
    hashing::removal,
    hashing::maglev_shares,
    hashing::bounded_loads,
    retries::amplification,
    retries::outage,
    retries::metastability,
    health::black_hole,
    health::outlier_masking,
    health::tiers,
    health::gradient,
    health::rate_limit,
];
