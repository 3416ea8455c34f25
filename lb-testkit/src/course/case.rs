//! A case, and what comes of it.

use std::{fmt, pin::Pin};

use super::{Chapter, Stage};

/// One sentence of the course as a test.
#[derive(Clone, Copy)]
pub struct Case {
    /// Where it belongs.
    pub chapter: Chapter,
    /// Unique in its chapter, in snake case.
    pub name: &'static str,
    /// What the course says.
    pub sentence: &'static str,
    pub(super) steps: for<'a> fn(&'a Stage) -> Steps<'a>,
}

pub(super) type Steps<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

impl Case {
    /// Runs it for a balancer of which it is said that it does not offer this, for that reason. Should it
    /// pass all the same, then what is said is wrong, which is a failure.
    ///
    /// # Errors
    /// What was missed.
    pub async fn run_not_offered(&self, stage: &Stage, reason: &'static str) -> Verdict {
        match self.run(stage).await {
            Err(Miss::Failed(_)) => Err(Miss::NotOffered(reason)),
            Ok(()) => Err(Miss::failed(
                "the steps of this case",
                format!("them not to work: {reason}"),
                "they work",
                "What is said of this balancer is no longer true: take the case from the list of what it \
                 does not offer.",
            )),
            skipped => skipped,
        }
    }

    /// Runs it: all backends of the cast are started and behave normally, then come the steps.
    ///
    /// # Errors
    /// What was missed.
    pub async fn run(&self, stage: &Stage) -> Verdict {
        stage.cast.reset().await?;
        (self.steps)(stage).await
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.chapter.id(), self.name)
    }
}

/// What comes of a case.
pub type Verdict = Result<(), Miss>;

/// Why a case did not pass.
#[derive(Clone, Debug)]
pub enum Miss {
    /// The balancer did something else.
    Failed(Failure),
    /// It could not be tried here, for this reason.
    Skipped(String),
    /// This balancer does not offer it, for this reason; it was tried all the same, and did not pass.
    NotOffered(&'static str),
}

/// What the balancer did, and what it should have done.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was sent or done.
    pub sent: String,
    /// What should have come of it.
    pub expected: String,
    /// What came.
    pub got: String,
    /// Where to look.
    pub hint: String,
}

impl Miss {
    pub(super) fn failed(
        sent: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
        hint: &str,
    ) -> Self {
        let (sent, expected, got) = (sent.into(), expected.into(), got.into());
        Self::Failed(Failure { sent, expected, got, hint: hint.to_owned() })
    }
}

/// The backends are ours: when they fail, that is no failure of the balancer's. What they cannot do is
/// not tried.
impl From<std::io::Error> for Miss {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::Unsupported {
            return Self::Skipped(error.to_string());
        }
        Self::failed(
            "(the testkit's own backends)",
            "them to work",
            error.to_string(),
            "Look at the machine first.",
        )
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(reason) => write!(f, "    skipped:  {reason}"),
            Self::NotOffered(reason) => write!(f, "    not offered: {reason}"),
            Self::Failed(Failure { sent, expected, got, hint }) => write!(
                f,
                "    sent:     {sent}\n    expected: {expected}\n    got:      {got}\n    hint:     {hint}"
            ),
        }
    }
}

/// The table of a chapter's cases: `name = "sentence"` for each async function of that name.
macro_rules! cases {
    ($chapter:ident: $($name:ident = $sentence:literal,)*) => {
        pub(super) const CASES: &[$crate::course::Case] = &[$($crate::course::Case {
            chapter: $crate::course::Chapter::$chapter,
            name: stringify!($name),
            sentence: $sentence,
            steps: |stage| Box::pin($name(stage)),
        }),*];
    };
}
pub(super) use cases;
