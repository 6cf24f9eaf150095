//! Loads a plugin: checks the component's version, hooks and imports, instantiates it once and
//! reads its manifest. Each failure is one clear line.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::component::Component;
use witgate_contract::{
    guard::{Guard, KvKey},
    limits,
    manifest::{Hook, Manifest, Reload, Stage},
};

use super::{
    bindings::{attempt, failure, plugin, request, response},
    code::{Code, Hash},
    host_functions::{Tenant, is_granted},
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

/// The version of the contract, as in `plugins/sdk/wit/`. A plugin built for another patch version
/// works if all its imports exist.
const OFFERED: (u64, u64, u64) = (0, 2, 0);
const PACKAGE: &str = "witgate:plugin/";

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

/// Compiles and links a component. The error completes the sentence "plugin X ...".
pub(super) fn compile(runtime: &Runtime, bytes: &[u8], hash: Hash) -> Result<Arc<Code>, String> {
    if let Some(outcome) = runtime.compiled.get(&hash) {
        return outcome;
    }
    check_header(bytes)?;
    let outcome = compile_component(runtime, bytes, hash).map(Arc::new);
    runtime.compiled.insert(hash, outcome.clone());
    outcome
}

fn compile_component(runtime: &Runtime, bytes: &[u8], hash: Hash) -> Result<Code, String> {
    let component = Component::from_binary(&runtime.engine, bytes)
        .map_err(|error| format!("is not a valid component: {}", flat(&error)))?;
    check_names(&runtime.engine, &component)?;
    let pre = runtime
        .linker
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
        let Some(name) = name.strip_prefix(PACKAGE) else {
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
    Ok(code)
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

/// Checks what kind of file this is, so that common mistakes get their own message.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    let why = match bytes {
        [] => "is an empty file",
        _ if bytes.starts_with(COMPONENT) => return Ok(()),
        _ if bytes.len() < COMPONENT.len() && COMPONENT.starts_with(bytes) => "is truncated",
        _ if bytes.starts_with(b"\0asm\x01\0\0\0") => {
            "is a core module, not a component: build it with `--target wasm32-wasip2`"
        }
        _ if bytes.starts_with(b"\0asm") => "has an unknown WebAssembly version",
        _ if bytes.starts_with(b"\x7fELF") => {
            "is machine code (a `.cwasm` or a native library), expected a WebAssembly component"
        }
        _ => "is not a WebAssembly component",
    };
    Err(why.to_owned())
}

/// Checks a component's version and imports by the names of what it imports and exports.
fn check_names(engine: &wasmtime::Engine, component: &Component) -> Result<(), String> {
    let shape = component.component_type();
    let exports: Vec<_> = shape.exports(engine).map(|(name, _)| name).collect();
    let imports: Vec<_> = shape.imports(engine).map(|(name, _)| name).collect();
    for name in imports.iter().chain(&exports) {
        check_version(name)?;
    }
    if !exports
        .iter()
        .any(|name| name.starts_with("witgate:plugin/manifest@"))
    {
        let exported = match exports.as_slice() {
            [] => "nothing".to_owned(),
            names => format!("`{}`", names.join("`, `")),
        };
        return Err(format!(
            "exports no hook of `witgate:plugin`: it was built for another world and exports {exported}"
        ));
    }
    if let Some(import) = imports.iter().find(|name| !is_granted(name)) {
        return Err(format!(
            "imports `{import}`, which plugins cannot use: they have no files, network or environment"
        ));
    }
    Ok(())
}

fn check_version(name: &str) -> Result<(), String> {
    let Some((_, wanted)) = name
        .strip_prefix(PACKAGE)
        .and_then(|name| name.split_once('@'))
    else {
        return Ok(());
    };
    let (major, minor, patch) = OFFERED;
    let mut numbers = wanted.splitn(3, '.').map(str::parse::<u64>);
    // A pre-release matches nothing but itself, and its patch number does not parse.
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(0)), Some(Ok(wanted)), Some(Ok(_))) if (major, minor) == (0, wanted) => Ok(()),
        _ => Err(format!(
            "was built for `witgate:plugin` `{wanted}`, but this gateway offers `{major}.{minor}.{patch}`: \
             rebuild it with the SDK of `{major}.{minor}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_wrong_file_gets_its_own_message() {
        let table: [(&[u8], &str); 7] = [
            (b"", "empty"),
            (b"\0asm", "truncated"),
            (b"\0asm\x0d\0\x01", "truncated"),
            (b"\0asm\x01\0\0\0...", "--target wasm32-wasip2"),
            (b"\x7fELF\x02\x01", ".cwasm"),
            (b"\0asm\x09\0\0\0", "unknown"),
            (b"<html>", "not a WebAssembly component"),
        ];
        for (bytes, wanted) in table {
            let why = check_header(bytes).unwrap_err();
            assert!(why.contains(wanted), "{bytes:?}: {why}");
        }
        assert_eq!(check_header(b"\0asm\x0d\0\x01\0..."), Ok(()));
    }

    #[test]
    fn only_versions_with_the_same_minor_number_are_accepted() {
        for good in [
            "witgate:plugin/manifest@0.2.0",
            "witgate:plugin/kv@0.2.9",
            "wasi:io/poll@0.2.6",
        ] {
            assert_eq!(check_version(good), Ok(()));
        }
        for bad in ["0.1.0", "1.0.0", "0.2.0-rc.1", "0.2", "x"] {
            let why = check_version(&format!("witgate:plugin/manifest@{bad}")).unwrap_err();
            assert!(
                why.contains(&format!("was built for `witgate:plugin` `{bad}`")),
                "{why}"
            );
        }
    }
}
