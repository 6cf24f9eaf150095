//! Loads a plugin: compiles and links the component, checks its hooks, instantiates it once and
//! reads its manifest. Each failure is one clear line.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tracing::debug;
use wasmtime::component::Component;
use witgate_contract::{
    guard::{Guard, KvKey},
    limits,
    manifest::{Hook, Manifest, Reload, Stage},
};

use super::{
    bindings::{attempt, failure, plugin, request, response},
    code::{Code, Hash},
    host_functions::{self, Tenant},
    inspect::{self, inspect},
    instance::{Instance, PluginError, deadline, flat},
    runtime::Runtime,
    versions::{Version, VersionNumber},
};
use crate::{
    config::{OnError, PluginConfig},
    ids::PluginId,
    ledger,
    message::{Conversation, Target},
    telemetry::HookMeter,
};

/// A component with a name and settings, loaded and ready.
pub(super) struct Plugin {
    pub(super) tenant: Arc<Tenant>,
    pub(super) code: Arc<Code>,
    pub(super) config: PluginConfig,
    pub(super) on_error: OnError,
    pub(super) memory: usize,
    pub(super) manifest: Arc<Manifest>,
    pub(super) number: VersionNumber,
    /// In the order of [`Hook::ALL`]. Meters of hooks that the plugin does not have are not
    /// exported.
    meters: [HookMeter; 4],
}

impl Plugin {
    pub(super) fn id(&self) -> &PluginId {
        &self.tenant.id
    }

    /// Whether it translates for upstreams that speak another protocol.
    pub(super) fn is_dialect(&self) -> bool {
        self.manifest.dialect.is_some()
    }

    /// Whether it sits between the dialect and the upstream.
    pub(super) fn is_wire(&self) -> bool {
        self.manifest.stage == Stage::Wire
    }

    /// Whether it sees the shapes of the Messages API.
    pub(super) fn sees_messages(&self) -> bool {
        !self.is_dialect() && !self.is_wire()
    }

    /// The first digits of the component's hash, and a digest of the settings if there are any.
    pub(super) fn version(&self) -> String {
        let hash: String = self.code.hash[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if self.config.settings.is_empty() {
            return hash;
        }
        let settings = serde_json::Value::Object(self.config.settings.clone()).to_string();
        format!("{hash}+{:016x}", ledger::hash(settings.as_bytes()))
    }

    /// `None` if the plugin does not have the hook.
    pub(super) fn guard(&self, hook: Hook) -> Option<&Guard> {
        self.manifest.guard(hook)
    }

    /// Whether the plugin's key-value space has an entry under a key.
    pub(super) fn remembers(
        &self,
        key: KvKey,
        target: Option<&Target>,
        conversation: &Conversation,
    ) -> bool {
        let key = || match key {
            KvKey::Target => target
                .map(|target| target.facts().key())
                .unwrap_or_default(),
            KvKey::Conversation => conversation.id().as_str().to_owned(),
        };
        self.tenant.space.contains(key, Instant::now())
    }

    pub(super) fn meter(&self, hook: Hook) -> &HookMeter {
        &self.meters[hook as usize]
    }

    /// The plugin with its number: it replaces `previous` in the set of this generation.
    ///
    /// The same component with the same settings is the same version, whatever its limits are. A
    /// line of versions continues while conversations may keep the previous one: both manifests say
    /// so, and both plugins are called at the same place.
    pub(super) fn replacing(mut self, previous: Option<&Self>, generation: u64) -> Self {
        let previous = previous.map(|previous| {
            let is_same_version = self.is_same_version(previous);
            (previous.number, is_same_version, self.continues(previous))
        });
        self.number = match previous {
            Some((number, true, true)) => number,
            Some((number, false, true)) => VersionNumber {
                generation,
                ..number
            },
            _ => VersionNumber::first(generation),
        };
        self
    }

    /// Whether a conversation keeps the version that it began with.
    pub(super) fn is_kept_by_conversations(&self) -> bool {
        self.manifest.reload == Reload::Conversation
    }

    pub(super) fn as_version(self: &Arc<Self>) -> Version<Arc<Self>> {
        Version {
            plugin: self.id().clone(),
            number: self.number,
            loaded: Arc::clone(self),
        }
    }

    fn continues(&self, previous: &Self) -> bool {
        self.is_kept_by_conversations()
            && previous.is_kept_by_conversations()
            && self.manifest.stage == previous.manifest.stage
            && self.manifest.dialect == previous.manifest.dialect
    }

    fn is_same_version(&self, previous: &Self) -> bool {
        self.code.hash == previous.code.hash && self.config.settings == previous.config.settings
    }

    pub(super) fn deadline(&self, size: usize) -> Duration {
        deadline(self.config.deadline, size)
    }
}

/// Begins to compile and link a component in the background, unless that has begun or the file is
/// none that can be loaded. Returns whether it has begun.
pub(super) fn begin_compiling(
    runtime: &Arc<Runtime>,
    id: &PluginId,
    bytes: Bytes,
    hash: Hash,
) -> bool {
    if runtime.compiler.finished(&hash).is_some() {
        return false;
    }
    if let Err(why) = inspect(&bytes) {
        runtime.compiler.put(hash, Err(why));
        return false;
    }
    let (on, id, size) = (Arc::clone(runtime), id.clone(), bytes.len());
    runtime.compiler.begin(hash, size, move || {
        let started = Instant::now();
        let compiled = catch_unwind(AssertUnwindSafe(|| compile(&on, &bytes, hash)));
        let elapsed_ms = started.elapsed().as_millis();
        debug!(plugin = %id, elapsed_ms, "component compiled");
        compiled.unwrap_or_else(|_| Err("could not be compiled: the compiler panicked".to_owned()))
    })
}

/// Compiles and links a component. The error completes the sentence "plugin X ...".
fn compile(runtime: &Runtime, bytes: &[u8], hash: Hash) -> Result<Arc<Code>, String> {
    let component = Component::from_binary(&runtime.engine, bytes)
        .map_err(|error| format!("is not a valid component: {}", flat(&error)))?;
    let linker = host_functions::linker_for(&runtime.linker, &component)
        .map_err(|error| format!("cannot be linked: {}", flat(&error)))?;
    let pre = linker
        .instantiate_pre(&component)
        .map_err(|error| format!("cannot be linked: {}", flat(&error)))?;
    let code = Code {
        hash,
        manifest: plugin::PluginIndices::new(&pre)
            .map_err(|error| format!("exports an unusable `manifest`: {}", flat(&error)))?,
        request: request::RequestPluginIndices::new(&pre).ok(),
        attempt: attempt::AttemptPluginIndices::new(&pre).ok(),
        failure: failure::FailurePluginIndices::new(&pre).ok(),
        response: response::ResponsePluginIndices::new(&pre).ok(),
        pre,
    };
    // Otherwise a hook that is exported without its functions would silently never be called.
    let exports = component.component_type();
    for (name, _) in exports.exports(&runtime.engine) {
        let Some(name) = name.strip_prefix(inspect::PACKAGE) else {
            continue;
        };
        let (interface, _) = name.split_once('@').unwrap_or((name, ""));
        let known = code
            .hooks()
            .into_iter()
            .any(|hook| interface.strip_suffix("-hook") == Some(hook.as_str()));
        if interface.ends_with("-hook") && !known {
            return Err(format!(
                "exports `{interface}` without the functions that this gateway expects: rebuild it with \
                 the current SDK"
            ));
        }
    }
    if code.hooks().is_empty() {
        return Err("exports no hook of `witgate:plugin`, so it would never be called".to_owned());
    }
    Ok(Arc::new(code))
}

/// Why a component cannot be loaded.
pub(super) struct LoadError {
    /// Completes the sentence "plugin X ...".
    pub(super) why: String,
    /// Whether the system had no memory for it.
    pub(super) no_memory: bool,
}

impl From<String> for LoadError {
    fn from(why: String) -> Self {
        Self {
            why,
            no_memory: false,
        }
    }
}

/// Loads the component with a name and settings.
pub(super) async fn load(
    runtime: &Arc<Runtime>,
    code: &Arc<Code>,
    id: &PluginId,
    config: &PluginConfig,
) -> Result<Plugin, LoadError> {
    let settings = serde_json::to_string(&config.settings)
        .map_err(|error| format!("has settings that cannot be written as JSON: {error}"))?;
    let tenant = Arc::new(Tenant {
        id: id.clone(),
        settings: settings.as_str().into(),
        space: runtime.store.space(id),
    });
    let memory = config.memory.unwrap_or(limits::MEMORY_DEFAULT);
    let mut trial = Instance::new(runtime, code, &tenant, memory, None)
        .await
        .map_err(|error| LoadError {
            why: format!("cannot be instantiated: {error}"),
            no_memory: matches!(error, PluginError::NoMemory),
        })?;
    trial.bind_all().map_err(|error| {
        format!("exports a hook whose types differ from this gateway's: {error}")
    })?;
    let text = trial.describe(settings, deadline(config.deadline, 0)).await;
    let text = text.map_err(|error| match error {
        PluginError::Failed(text) => format!("rejected its settings: {text}"),
        error => format!("failed in `describe`: {error}"),
    })?;
    let manifest = Manifest::parse(&text, &code.hooks())
        .map_err(|why| format!("has an invalid manifest: {why}"))?;
    // Half a translation is useless, and a required plugin is never skipped.
    let on_error = if manifest.dialect.is_some() || config.required {
        OnError::Fail
    } else {
        config
            .on_error
            .or(manifest.on_error)
            .unwrap_or(OnError::Fail)
    };
    let hooks = code.hooks();
    let meters = Hook::ALL.map(|hook| match hooks.contains(&hook) {
        true => runtime.metrics.hook(id, hook.as_str()),
        false => HookMeter::default(),
    });
    Ok(Plugin {
        tenant,
        code: Arc::clone(code),
        config: config.clone(),
        on_error,
        memory,
        manifest: Arc::new(manifest),
        number: VersionNumber::first(0),
        meters,
    })
}
