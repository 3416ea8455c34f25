//! What the balancer promises about its backends: whatever they do, the client gets a right answer or
//! a visibly broken one, and the pool's books are right afterwards.

mod alternation;
mod ambiguous;
mod before_the_head;
mod broken_bodies;
mod counts;
mod early_answers;
mod ejection;
mod health;
mod names;
mod none_left;
mod queueing;
mod retries;
mod reuse;
mod stale;
mod standing;
mod sticky;
mod streaming;
mod tiers;
mod timeouts;
