//! `witgate plugin explain`: what each plugin did in a recent exchange of a running gateway.

use clap::Args;
use serde_json::Value;

use super::{
    paint::{Color, Paint},
    report,
};
use crate::{
    cli::{Code, ConfigArgs, Failure, print, tokio_runtime},
    pipeline::Trace,
    upstream::get_from_gateway,
};

#[derive(Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The exchange's id: the `request-id` of the response, and `id` in the log
    #[arg(value_parser = exchange_id)]
    id: String,
    /// The running gateway; the key is the first one in the configuration file [default: the
    /// address in the configuration]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

fn exchange_id(text: &str) -> Result<String, &'static str> {
    let simple = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !text.is_empty() && text.chars().all(simple) {
        true => Ok(text.to_owned()),
        false => Err("expected an id such as `req_` and 32 hexadecimal digits"),
    }
}

pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let (config, _) = args.config.load()?;
    let listen = format!("http://{}", config.listen);
    let url = args.url.as_deref().unwrap_or(&listen);
    let path = format!("/plugins/traces/{}", args.id);
    let asked = get_from_gateway(url, &path, config.auth.keys.first());
    let text = tokio_runtime()?.block_on(asked).map_err(|fault| {
        Failure::new(Code::Other, fault.chain())
            .hint("`--url` is the address of a running gateway, such as `http://127.0.0.1:8045`")
    })?;
    let invalid = |error| {
        let what = format!("`{url}` sent no trace, is it a gateway? {error}");
        Failure::new(Code::Other, what)
    };
    print(&match args.json {
        true => {
            let trace: Value = serde_json::from_slice(&text).map_err(invalid)?;
            format!("{trace:#}\n")
        }
        false => {
            let trace = serde_json::from_slice(&text).map_err(invalid)?;
            in_words(&trace, args.color.paint())
        }
    })
}

fn in_words(trace: &Trace, paint: Paint) -> String {
    let mut text = paint.bold(&format!("exchange {}", trace.id));
    text.push('\n');
    match &trace.end {
        Some(end) => text.push_str(&report::end(end)),
        None => report::line(&mut text, "it is still in progress"),
    }
    if trace.steps.is_empty() {
        report::line(&mut text, "no plugin has a hook for it");
    }
    text.push_str(&report::steps(trace, paint));
    text
}
