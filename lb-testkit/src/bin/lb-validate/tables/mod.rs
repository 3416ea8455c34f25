//! The tables, in the order of the page.

mod balls;
mod caps;
mod choices;
mod hashing;
mod health;
mod prequal;
mod queues;
mod retries;
mod sequences;
mod slow_start;
mod splitting;

use crate::{cell::Table, lab::Lab};

/// Tables with their names.
macro_rules! tables {
    ($($module:ident :: $table:ident,)*) => {
        pub(crate) const ALL: &[(&str, fn(&Lab) -> Table)] =
            &[$((concat!(stringify!($module), "::", stringify!($table)), $module::$table),)*];
    };
}

tables! {
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
    choices::small,
    choices::slow_servers,
    balls::one_choice,
    balls::two_choices,
    sequences::smooth,
    sequences::least_deviation,
    sequences::earliest_deadline,
    hashing::ring,
    hashing::removal,
    hashing::maglev_shares,
    hashing::rendezvous_shares,
    hashing::jump,
    hashing::bounded_loads,
    prequal::rule,
    prequal::many_balancers,
    retries::amplification,
    retries::outage,
    retries::funded_by_successes,
    retries::metastability,
    health::black_hole,
    health::outlier_masking,
    health::consecutive_failures,
    health::tiers,
    slow_start::newcomer,
    health::gradient,
    health::rate_limit,
}
