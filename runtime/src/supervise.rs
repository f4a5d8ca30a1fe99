//! Named tasks and threads that must outlive each other: one that ends too early ends the process.
//!
//! It restarts nothing. Half an agent that looks alive is worse than one that its supervisor restarts.

use std::error::Error;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

use crate::shutdown::{Cause, Shutdown};

/// What a supervised task fails with.
pub type TaskError = Box<dyn Error + Send + Sync>;

/// Why the process must end with a failure.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// A task returned an error.
    #[error("`{name}` failed")]
    Failed {
        /// The task's name.
        name: &'static str,
        /// Its error.
        #[source]
        source: TaskError,
    },
    /// A task returned before the shutdown began.
    #[error("`{name}` ended while it was still needed; this is a bug")]
    EndedEarly {
        /// The task's name.
        name: &'static str,
    },
    /// A task panicked.
    #[error("`{name}` panicked; this is a bug")]
    Panicked {
        /// The task's name.
        name: &'static str,
    },
    /// Tasks did not finish within the grace period.
    #[error("not finished within the grace period: {}", names.join(", "))]
    Unfinished {
        /// The tasks' names.
        names: Vec<&'static str>,
    },
}

/// Why a thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("starting the thread `{name}` failed; is the limit of tasks (pids) reached?")]
pub struct SpawnError {
    name: &'static str,
    #[source]
    source: io::Error,
}

/// The set of tasks that make up the process.
#[derive(Debug)]
pub struct Supervisor {
    shutdown: Shutdown,
    tasks: JoinSet<Result<(), TaskError>>,
    names: Vec<(Id, &'static str)>,
}

impl Supervisor {
    /// Supervises until `shutdown` begins, and then until its deadline.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            tasks: JoinSet::new(),
            names: Vec::new(),
        }
    }

    /// Runs a task that ends only when the shutdown's token is cancelled.
    pub fn spawn<E: Into<TaskError>>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(async move { task.await.map_err(Into::into) });
        self.names.push((handle.id(), name));
    }

    /// Runs a thread that ends only when the shutdown's token is cancelled.
    pub fn spawn_thread<E: Into<TaskError>>(
        &mut self,
        name: &'static str,
        body: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Result<(), SpawnError> {
        let (done, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(body)).map(|result| result.map_err(Into::into));
                // The receiver is gone only when the process is ending without us.
                done.send(outcome).ok();
            })
            .map_err(|source| SpawnError { name, source })?;
        let handle = self.tasks.spawn(async move {
            match ended.await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(gone) => Err(gone.into()),
            }
        });
        self.names.push((handle.id(), name));
        Ok(())
    }

    /// Waits for the end. The first task that ends early triggers the shutdown, and its error is what is returned
    /// once the others have finished or the deadline has passed.
    pub async fn run(mut self) -> Result<(), SuperviseError> {
        let token = self.shutdown.token();
        let mut first = None;
        loop {
            let next = tokio::select! {
                biased;
                () = token.cancelled() => break,
                next = self.tasks.join_next_with_id() => next,
            };
            let Some(outcome) = next else { break };
            let (name, error) = self.judge(outcome);
            first = Some(error.unwrap_or(SuperviseError::EndedEarly { name }));
            self.shutdown.trigger(Cause::Own);
        }
        self.shutdown.trigger(Cause::Own);
        let deadline = self.shutdown.deadline().unwrap_or_else(Instant::now);
        loop {
            match timeout_at(deadline, self.tasks.join_next_with_id()).await {
                Ok(Some(outcome)) => {
                    let (_, error) = self.judge(outcome);
                    first = first.or(error);
                }
                Ok(None) => return first.map_or(Ok(()), Err),
                Err(_late) => {
                    let names = self.names.iter().map(|(_, name)| *name).collect();
                    return Err(first.unwrap_or(SuperviseError::Unfinished { names }));
                }
            }
        }
    }

    fn judge(
        &mut self,
        outcome: Result<(Id, Result<(), TaskError>), JoinError>,
    ) -> (&'static str, Option<SuperviseError>) {
        let id = match &outcome {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let position = self.names.iter().position(|(known, _)| *known == id);
        let name = position.map_or("unnamed", |index| self.names.swap_remove(index).1);
        let error = match outcome {
            Ok((_, Ok(()))) => None,
            Ok((_, Err(source))) => Some(SuperviseError::Failed { name, source }),
            Err(error) if error.is_panic() => Some(SuperviseError::Panicked { name }),
            Err(_cancelled) => Some(SuperviseError::EndedEarly { name }),
        };
        if let Some(error) = &error {
            tracing::error!(task = name, %error, "a task ended that must not");
        }
        (name, error)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    async fn until_cancelled(shutdown: Shutdown) -> Result<(), Infallible> {
        shutdown.token().cancelled().await;
        Ok(())
    }

    /// *Scenario:* the shutdown is triggered from outside while a task and a thread run.
    /// *Guarantees:* both are waited for, and the end is a success.
    #[tokio::test]
    async fn supervisor_shut_down_waits_for_its_tasks() {
        let shutdown = Shutdown::new(GRACE);
        let mut supervisor = Supervisor::new(shutdown.clone());
        supervisor.spawn("task", until_cancelled(shutdown.clone()));
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        supervisor
            .spawn_thread("thread", move || {
                // Ends when the sender goes, which the test does after the trigger.
                stopped.recv().err();
                Ok::<(), Infallible>(())
            })
            .expect("a thread starts");
        shutdown.trigger(Cause::Terminate);
        drop(stop);
        assert!(supervisor.run().await.is_ok());
    }

    /// *Scenario:* one of two tasks returns although nobody asked it to.
    /// *Guarantees:* the other is told to end, and the failure names the first.
    #[tokio::test]
    async fn supervisor_with_a_task_that_ends_early_fails_and_names_it() {
        let shutdown = Shutdown::new(GRACE);
        let mut supervisor = Supervisor::new(shutdown.clone());
        supervisor.spawn("loyal", until_cancelled(shutdown.clone()));
        supervisor.spawn("early", async { Ok::<(), Infallible>(()) });
        let error = supervisor.run().await.expect_err("a task ended early");
        assert!(
            matches!(error, SuperviseError::EndedEarly { name: "early" }),
            "{error:?}"
        );
        assert_eq!(shutdown.cause(), Some(Cause::Own));
    }

    /// *Scenario:* a task fails, and a thread panics.
    /// *Guarantees:* each is reported as what it was.
    #[tokio::test]
    async fn supervisor_tells_errors_from_panics() {
        let mut supervisor = Supervisor::new(Shutdown::new(GRACE));
        supervisor.spawn("failing", async { Err(io::Error::other("broken")) });
        let error = supervisor.run().await.expect_err("a task failed");
        assert!(
            matches!(error, SuperviseError::Failed { name: "failing", .. }),
            "{error:?}"
        );

        let mut supervisor = Supervisor::new(Shutdown::new(GRACE));
        supervisor
            .spawn_thread("panicking", || -> Result<(), Infallible> { panic!("on purpose") })
            .expect("starts");
        let error = supervisor.run().await.expect_err("a thread panicked");
        assert!(
            matches!(error, SuperviseError::Panicked { name: "panicking" }),
            "{error:?}"
        );
    }

    /// *Scenario:* a task ignores the shutdown.
    /// *Guarantees:* the end comes at the deadline and names the task.
    #[tokio::test(start_paused = true)]
    async fn supervisor_with_a_stubborn_task_ends_at_the_deadline() {
        let shutdown = Shutdown::new(GRACE);
        let mut supervisor = Supervisor::new(shutdown.clone());
        supervisor.spawn("stubborn", std::future::pending::<Result<(), Infallible>>());
        let start = Instant::now();
        shutdown.trigger(Cause::Terminate);
        let error = supervisor.run().await.expect_err("a task is unfinished");
        assert_eq!(
            error.to_string(),
            "not finished within the grace period: stubborn"
        );
        assert_eq!(start.elapsed(), GRACE);
    }
}
