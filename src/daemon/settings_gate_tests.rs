use std::collections::BTreeMap;
use std::sync::Mutex;

use super::super::reload::{ReloadableSettings, SettingsReloader, TrialRetry};
use super::*;
use crate::ops::setting_report::SettingAuthors;
use crate::ops::worker_reports::WorkerReporter;
use crate::settings::{Flags, Layers, Sources};
use mfctl_core::domain::Stage;
use mfctl_core::ports::{OperatorJournal, OperatorRecord, Result as PortResult, SystemClock};
use mfctl_core::telemetry::Metrics;
use tokio::sync::watch;

/// A parser that needs some memory and some time, and a host that may fail it.
#[derive(Default)]
struct FakeParser {
    min_memory_bytes: u64,
    min_cpu_seconds: u64,
    is_host_down: Mutex<bool>,
}

#[async_trait]
impl TrialParse for FakeParser {
    async fn check(&self, limits: &Limits) -> Result<(), String> {
        if *self.is_host_down.lock().unwrap() {
            return Err("no process can be started".to_owned());
        }
        if limits.memory_bytes < self.min_memory_bytes {
            return Err(format!("needs more memory than --memory {} MiB", limits.memory_bytes >> 20));
        }
        if limits.cpu_seconds < self.min_cpu_seconds { Err("takes more processor time".to_owned()) } else { Ok(()) }
    }
}

struct Host {
    folder: tempfile::TempDir,
    parser: Arc<FakeParser>,
}

impl Host {
    fn new(parser: FakeParser) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), parser: Arc::new(parser) }
    }

    fn gate(&self) -> SettingsGate {
        let clock = Arc::new(SystemClock::default());
        SettingsGate::new(self.folder.path(), Some(Arc::clone(&self.parser) as Arc<dyn TrialParse>), clock)
    }

    /// The layers of a host without files.
    fn layers(&self) -> Layers {
        let sources = Sources {
            flags: Flags::default(),
            env: [("MFCTL_DATA_DIR".to_owned(), self.folder.path().to_str().unwrap().to_owned())].into(),
            env_bytes: BTreeMap::default(),
            cwd: self.folder.path().to_owned(),
            home: None,
            uid: 0,
            user: "ops".to_owned(),
            host: "h1".to_owned(),
            system_file: "/nonexistent/mfctl.toml".into(),
        };
        Layers::read_tolerant(&sources).unwrap()
    }

    /// The settings of this host above these in the store, below these flags.
    fn settings(&self, stored: &[(&str, &str)], flags: &[(&str, &'static str, &str)]) -> Settings {
        let stored = stored.iter().map(|(name, value)| (*name, value.as_bytes()));
        let mut settings = self.layers().above_stored(&"dev".parse().unwrap(), stored).settings().unwrap();
        for (key, flag, value) in flags {
            let raw = RawValue::Text((*value).to_owned());
            settings.put(key, LayerValue::valid(raw, ValueOrigin::flag(flag)));
        }
        settings
    }

    async fn admit(&self, gate: &mut SettingsGate, stored: &[(&str, &str)]) -> AdmittedSettings {
        gate.admit(self.settings(stored, &[]), CheckedAt::Change).await.unwrap()
    }
}

fn unused(admitted: &AdmittedSettings) -> Vec<(&str, &str)> {
    admitted.unused.iter().map(|refused| (refused.key.as_str(), refused.reason.as_str())).collect()
}

#[tokio::test]
async fn a_value_beyond_its_bounds_leaves_the_last_one_that_passed_also_after_a_restart() {
    let host = Host::new(FakeParser::default());
    let mut gate = host.gate();
    assert!(host.admit(&mut gate, &[("enrich_memory", "1GiB")]).await.unused.is_empty());
    for bad in ["24MiB", "lots", ""] {
        // One worker that runs, and one that starts again.
        for gate in [&mut gate, &mut host.gate()] {
            let admitted = host.admit(gate, &[("enrich_memory", bad), ("worker_concurrency", "3")]).await;
            assert_eq!(admitted.settings.enrich.memory.0, 1 << 30, "{bad}");
            assert_eq!(admitted.settings.resolved("enrich.memory").unwrap().origin, ValueOrigin::last_passed());
            assert_eq!(unused(&admitted)[0].0, "enrich.memory");
            // A value that is valid is used all the same.
            assert_eq!(admitted.settings.worker.concurrency.to_string(), "3");
        }
    }
    let mended = host.admit(&mut gate, &[("enrich_memory", "2GiB")]).await;
    assert_eq!((mended.settings.enrich.memory.0, mended.unused.len()), (2 << 30, 0));
}

#[tokio::test]
async fn without_a_value_that_passed_the_default_is_used() {
    let host = Host::new(FakeParser::default());
    let admitted = host.admit(&mut host.gate(), &[("enrich_memory", "1KiB")]).await;
    assert_eq!(admitted.settings.enrich.memory.to_string(), "512MiB");
    assert_eq!(
        unused(&admitted),
        [("enrich.memory", "enrich.memory is 1KiB, below its minimum of 192MiB (default 512MiB)")]
    );
}

#[tokio::test]
async fn the_trial_parse_refuses_only_the_setting_at_fault() {
    let host = Host::new(FakeParser { min_memory_bytes: 300 << 20, ..FakeParser::default() });
    let mut gate = host.gate();
    let admitted = host.admit(&mut gate, &[("enrich_memory", "200MiB"), ("enrich_cpu", "20s")]).await;
    assert_eq!((admitted.settings.enrich.memory.0, admitted.settings.enrich.cpu.as_secs()), (512 << 20, 20));
    let reason = "the trial parse failed: needs more memory than --memory 200 MiB";
    assert_eq!(unused(&admitted), [("enrich.memory", reason)]);
    assert!(admitted.is_trial_failed);
    let mended = host.admit(&mut gate, &[("enrich_memory", "384MiB"), ("enrich_cpu", "20s")]).await;
    assert_eq!((mended.settings.enrich.memory.0, mended.unused.len(), mended.is_trial_failed), (384 << 20, 0, false));
}

#[tokio::test]
async fn a_host_that_cannot_parse_at_all_keeps_what_passed_and_takes_the_new_value_once_it_can() {
    let host = Host::new(FakeParser::default());
    let mut gate = host.gate();
    host.admit(&mut gate, &[("enrich_memory", "1GiB")]).await;
    *host.parser.is_host_down.lock().unwrap() = true;
    let unchanged = host.admit(&mut gate, &[("enrich_memory", "1GiB")]).await;
    assert_eq!((unchanged.settings.enrich.memory.0, unchanged.unused.len()), (1 << 30, 0));
    let changed = host.admit(&mut gate, &[("enrich_memory", "2GiB")]).await;
    assert_eq!(changed.settings.enrich.memory.0, 1 << 30);
    assert!(unused(&changed)[0].1.contains("with the last values that passed"), "{:?}", changed.unused);
    *host.parser.is_host_down.lock().unwrap() = false;
    let recovered = host.admit(&mut gate, &[("enrich_memory", "2GiB")]).await;
    assert_eq!((recovered.settings.enrich.memory.0, recovered.unused.len()), (2 << 30, 0));
}

#[tokio::test]
async fn a_flag_that_does_not_pass_is_an_error_at_the_start_and_overrides_a_bad_shared_value() {
    let host = Host::new(FakeParser { min_memory_bytes: 300 << 20, ..FakeParser::default() });
    let settings = host.settings(&[], &[("enrich.memory", "--memory", "200MiB")]);
    let error = host.gate().admit(settings, CheckedAt::Start).await.unwrap_err();
    assert!(error.to_string().contains("--memory 200MiB: the trial parse failed"), "{error}");
    let settings = host.settings(&[("enrich_memory", "1KiB")], &[("enrich.memory", "--memory", "1GiB")]);
    let admitted = host.gate().admit(settings, CheckedAt::Start).await.unwrap();
    assert_eq!((admitted.settings.enrich.memory.0, admitted.unused.len()), (1 << 30, 0));
    // What a flag gives is not kept for workers without it.
    let other = host.admit(&mut host.gate(), &[("enrich_memory", "1KiB")]).await;
    assert_eq!(other.settings.enrich.memory.to_string(), "512MiB");
}

/// A journal that keeps what it is given.
#[derive(Default)]
struct FakeJournal {
    records: watch::Sender<Vec<OperatorRecord>>,
}

#[async_trait]
impl OperatorJournal for FakeJournal {
    async fn append(&self, record: &OperatorRecord) -> PortResult<()> {
        self.records.send_modify(|records| records.push(record.clone()));
        Ok(())
    }

    async fn latest(&self, _: usize) -> PortResult<Vec<OperatorRecord>> {
        Ok(self.records.borrow().clone())
    }
}

/// A good value is set in the minute in which no process can be started; nothing changes in the store afterwards.
#[tokio::test]
async fn a_value_that_was_refused_while_the_host_was_at_fault_is_tried_again_by_itself() {
    let host = Host::new(FakeParser::default());
    let mut gate = host.gate();
    host.admit(&mut gate, &[("enrich_memory", "1GiB")]).await;
    *host.parser.is_host_down.lock().unwrap() = true;
    let admitted = host.admit(&mut gate, &[("enrich_memory", "2GiB")]).await;
    assert_eq!(admitted.settings.enrich.memory.0, 1 << 30);
    let metrics = Arc::new(Metrics::default());
    let reloadable = ReloadableSettings::new(&admitted, &SettingAuthors::default(), &metrics);
    let mut limits = reloadable.limits();
    let journal = Arc::new(FakeJournal::default());
    let given = host.settings(&[("enrich_memory", "2GiB")], &[]);
    let clock = Arc::new(SystemClock::default());
    let reloader = SettingsReloader {
        layers: host.layers(),
        flags: Arc::new(|_| ()),
        gate,
        in_force: admitted.settings,
        retry: TrialRetry::after(admitted.is_trial_failed),
        reloadable,
        metrics,
        reporter: WorkerReporter::new(Arc::clone(&journal) as _, clock, &given),
        workers: vec![(Stage::Enrich, "h1/0".to_owned())],
        given,
    };
    let running = tokio::spawn(reloader.run(None));
    *host.parser.is_host_down.lock().unwrap() = false;
    let within = std::time::Duration::from_secs(30);
    let used = tokio::time::timeout(within, limits.wait_for(|limits| limits.memory_bytes == 2 << 30)).await;
    assert!(used.unwrap().is_ok());
    let mut records = journal.records.subscribe();
    let reported = tokio::time::timeout(within, records.wait_for(|records| !records.is_empty())).await;
    assert_eq!(reported.unwrap().unwrap()[0].result, "0 settings are not used");
    running.abort();
}
