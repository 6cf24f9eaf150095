//! The plugin's own settings.

use serde::de::DeserializeOwned;

use crate::{error::Error, host};

/// The object from `[plugin.NAME] settings` of the gateway's configuration, `{}` if there is none.
///
/// The same for the whole exchange, even if the configuration is changed meanwhile. In
/// [`describe`](crate::Plugin::describe) these are the settings that are being proposed, so a type with
/// `#[serde(deny_unknown_fields)]` refuses a misspelt key there.
pub fn settings<T: DeserializeOwned>() -> Result<T, Error> {
    serde_json::from_str(&host::settings())
        .map_err(|error| Error::from(error).while_doing("settings"))
}
