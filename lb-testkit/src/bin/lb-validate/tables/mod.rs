//! The tables, in the order of the page.

mod balls;
mod choices;
mod queues;
mod retries;
mod sequences;
mod splitting;

use crate::{cell::Table, lab::Lab};

pub(crate) const ALL: &[fn(&Lab) -> Table] = &[
    queues::random_splitting,
    queues::slots,
    queues::general_service,
    queues::processor_sharing,
    splitting::round_robin,
    splitting::unequal,
    choices::shortest_of_two,
    choices::shortest,
    choices::supermarket,
    choices::hundred,
    choices::few,
    choices::slow_servers,
    balls::one_choice,
    balls::two_choices,
    sequences::smooth,
    retries::amplification,
    retries::outage,
    retries::metastability,
];
