//! How the kernel shares the processors out. A mail server under load has more threads to run than processors, and each wakes others all the
//! time: a sync ends, a reply goes out, a request comes in. By default the kernel stops whoever runs for whoever was just woken, and both pay
//! for the change. As a batch (`SCHED_BATCH` of sched(7)) a thread that wakes waits until the one that runs has had its turn. Where a
//! processor is free, nothing changes.

use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, get_scheduler, set_scheduler};

/// Makes this thread and all that it starts from now on a batch, whatever its niceness. A policy that somebody else gave the process stays,
/// and so does everything where the system refuses: it costs time only.
pub fn run_as_batch() {
    let asked = get_scheduler(Pid::current_thread()).and_then(|policy| match policy {
        Scheduler::SCHED_NORMAL => set_scheduler(
            Pid::current_thread(),
            Scheduler::SCHED_BATCH,
            SchedulerParams { priority: 0 },
        ),
        _ => Ok(()),
    });
    if let Err(error) = asked {
        tracing::info!(%error, "the threads keep the usual scheduling policy: under load they take more processor time");
    }
}
