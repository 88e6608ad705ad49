//! `tracer trace`.

use std::{
    path::Path,
    process::ExitStatus,
    sync::{Arc, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{
    Failure, LOSS, RUN_TIME,
    args::TraceArgs,
    config::TraceConfig,
    control,
    exports::{self, ExportConfig, open_file, owner},
    hints, say,
    signals::{self, Event, Events},
    summary,
};
use serde_json::{Value, json};

use crate::{
    control::{ControlThread, Socket},
    export::Output,
    kernel::preflight,
    launch::{self, Invoker, LaunchError, Running, Waiting},
    pipeline::Trace,
};

/// How often the number of live processes is asked for.
const LIVE_CHECK: Duration = Duration::from_millis(20);

/// How often it is asked whether the kernel side has lost anything.
const LOSS_CHECK: Duration = Duration::from_millis(100);

pub(super) fn run(args: TraceArgs) -> Result<u8, Failure> {
    let mut config = TraceConfig::new(args)?;
    start_logging(&config);
    let invoker = Invoker::from_sudo();
    // Asked early, so that nothing is created or started in vain.
    preflight::check().map_err(Failure::run_time)?;
    // Before any thread is started, see `launch::prepare`; and before any file is made, so that none
    // is left where there is no such command.
    let waiting = match config.command.as_slice() {
        [] => None,
        command => Some(launch::prepare(command, invoker, &config.variables)?),
    };
    let resolver = Arc::default();
    let destinations =
        exports::open(&config.exports, &config.shares, config.look, invoker, &resolver)?;
    let told =
        |export: &ExportConfig| !matches!(export, ExportConfig::Text(_) | ExportConfig::Null);
    config.options.identity = config.exports.iter().any(told).then_some(resolver);
    let ledger_file = open_ledger(&config, invoker)?;
    let socket = config.control.as_deref().map(|path| Socket::bind(path, owner(invoker)));
    let socket = socket.transpose().map_err(Failure::run_time)?;

    config.options.launched = waiting.as_ref().map(Waiting::pid);
    hints::before(&config, invoker);
    let (events, requests) = signals::listen().map_err(Failure::run_time)?;
    let trace = Trace::start(&config.options, destinations).map_err(Failure::run_time)?;
    give_memory_back();
    log::info!("attached");
    let serve = |socket: Socket| socket.serve(move |call| requests.push(call));
    let control = socket.map(serve).transpose().map_err(Failure::run_time)?;
    let deadline = config.duration.map(|duration| Instant::now() + duration);
    let running = waiting.map(Waiting::release).transpose();

    let mut session = Session { trace, running: None, status: None, ledger_file, control };
    let ended = match running {
        Ok(running) => {
            session.running = running;
            session.wait(&events, deadline).map(Some)
        }
        Err(error) => Err(error.into()),
    };
    session.finish(ended, &config)
}

/// Reading the kernel's types took some 20 MiB that nothing needs again; the allocator would keep
/// them.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions, malloc_trim(3).
    unsafe {
        libc::malloc_trim(0);
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        Self { message: error.to_string(), code: error.exit_code() }
    }
}

/// Why tracing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The last process in scope has ended.
    Processes,
    /// The time is over.
    Duration,
    /// A signal asked for it.
    Signal(i32),
    /// No destination can take any more spans.
    Unheard,
    /// A thread of tracer has ended before it should.
    Failed,
}

struct Session {
    trace: Trace,
    running: Option<Running>,
    status: Option<ExitStatus>,
    ledger_file: Option<Output>,
    control: Option<ControlThread>,
}

impl Session {
    fn wait(&mut self, events: &Events, deadline: Option<Instant>) -> Result<End, Failure> {
        let mut looked = Instant::now();
        loop {
            self.trace.flush_kernel_log();
            if looked.elapsed() >= LOSS_CHECK {
                looked = Instant::now();
                self.trace.tell_losses().map_err(Failure::run_time)?;
            }
            self.reap()?;
            let running = self.running.is_some() && self.status.is_none();
            // A command's status comes a moment after the kernel side has seen its end.
            let goes_on = self.control.is_some() && self.running.is_none();
            if self.trace.live_processes() == Some(0) && !running && !goes_on {
                return Ok(End::Processes);
            }
            if self.trace.is_unheard() {
                return Ok(End::Unheard);
            }
            if self.trace.failure().is_some() {
                return Ok(End::Failed);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(End::Duration);
            }
            let wait = left.map_or(LIVE_CHECK, |left| left.min(LIVE_CHECK));
            match events.recv_timeout(wait) {
                Ok(Event::Stop(signal)) => return Ok(End::Signal(signal)),
                Ok(Event::WriteLedger) => self.write_ledger_now()?,
                Ok(Event::Control(call)) => {
                    let answer = control::answer(&mut self.trace, &call.request);
                    call.answer(answer);
                }
                Ok(Event::Child) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::run_time("the signal thread has ended"));
                }
            }
        }
    }

    fn reap(&mut self) -> Result<(), Failure> {
        if let (Some(running), None) = (&self.running, self.status) {
            self.status = running.try_wait().map_err(Failure::run_time)?;
        }
        Ok(())
    }

    fn write_ledger_now(&mut self) -> Result<(), Failure> {
        let ledger = self.trace.ledger().map_err(Failure::run_time)?;
        if let Some(file) = &mut self.ledger_file {
            return write_ledger(file, &ledger.to_json());
        }
        say(&ledger.to_json().to_string());
        Ok(())
    }

    /// Closes the books and finds the exit status.
    fn finish(
        mut self,
        ended: Result<Option<End>, Failure>,
        config: &TraceConfig,
    ) -> Result<u8, Failure> {
        // Before stopping: a command that has ended by then is done, and its status known.
        self.reap()?;
        drop(self.control.take());
        let ledger = match self.trace.stop(Some(config.shutdown_timeout)) {
            Ok(ledger) => ledger,
            // There are no books, but the command's own status is known.
            Err(error) => {
                say(&error.to_string());
                if let Some(file) = &mut self.ledger_file {
                    let books = json!({ "balanced": false, "failure": error.to_string() });
                    write_ledger(file, &books)?;
                }
                let status = self.status.map_or(0, launch::shell_status);
                return Ok(if status == 0 { RUN_TIME } else { status });
            }
        };
        if let Some(file) = &mut self.ledger_file {
            write_ledger(file, &ledger.to_json())?;
        }
        summary::print(&ledger, config.verbose > 0);
        hints::after(&ledger, config);
        let end = ended?;
        if config.fail_on_loss && !(ledger.losses().is_empty() && ledger.balanced()) {
            return Ok(LOSS);
        }
        let status = match (self.status, end, self.running) {
            (Some(status), ..) => launch::shell_status(status),
            (None, Some(End::Signal(signal)), Some(_)) => u8::try_from(128 + signal).unwrap_or(1),
            _ => 0,
        };
        // What was to be written was not: an error, but not one to hide the command's own.
        let failed = ledger.failure.is_some()
            || ledger.destinations.iter().any(|it| it.first_error.is_some());
        Ok(if failed && status == 0 { RUN_TIME } else { status })
    }
}

fn open_ledger(config: &TraceConfig, invoker: Option<Invoker>) -> Result<Option<Output>, Failure> {
    let Some(path) = &config.ledger else { return Ok(None) };
    if path == Path::new("-") {
        return Output::stdout().map(Some).map_err(Failure::run_time);
    }
    open_file(path, invoker).map(Some)
}

fn write_ledger(file: &mut Output, ledger: &Value) -> Result<(), Failure> {
    let text = format!("{ledger:#}\n");
    let failed = |error| Failure::run_time(format!("--ledger: cannot write: {error}"));
    file.replace_content(text.as_bytes()).map_err(failed)
}

/// Warnings always; with `-v` more. The kernel side's log has its own switch.
fn start_logging(config: &TraceConfig) {
    static LOGGER: Logger = Logger;
    let level = match (config.verbose, config.options.kernel_log) {
        (0, false) => log::LevelFilter::Warn,
        (1, false) => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    // A program that embeds this one may have set its own logger, which then serves.
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(level);
    }
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // aya's own debug messages are about its probing of the kernel.
        !metadata.target().starts_with("aya") || metadata.level() <= log::Level::Warn
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            say(&record.args().to_string());
        }
    }
    fn flush(&self) {}
}
