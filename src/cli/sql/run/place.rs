//! Where the warehouse is: from the flags, or from the configuration.

use url::Url;

use super::SqlArgs;
use crate::cli::Flags;
use crate::config::Section;
use crate::query::{self, Address};

/// The address of the warehouse that is meant.
///
/// Errors: none is, or it is not clear which, with what to write.
pub fn address(args: &SqlArgs, flags: &Flags) -> Result<Address, String> {
    let mut address = match args.url.as_ref().or(args.path.as_ref()) {
        Some(place) => query::address(place)?,
        None => configured(args, flags)?,
    };
    if let Some(region) = &args.region {
        address.region = Some(region.clone());
    }
    if let Some(endpoint) = &args.endpoint {
        address.endpoint = Some(Url::parse(endpoint).map_err(|e| format!("--endpoint {endpoint:?}: {e}"))?);
    }
    Ok(address)
}

fn configured(args: &SqlArgs, flags: &Flags) -> Result<Address, String> {
    let path = &flags.config;
    let shown = path.display();
    let help = "name the warehouse with --path DIR or --url URL, or its configuration with -c FILE";
    if !path.exists() {
        return Err(format!("there is no file {shown}: {help}"));
    }
    let loaded = crate::cli::run::load(path, flags).map_err(|faults| faults.render())?;
    let mut found = Vec::new();
    outputs(&loaded.root, &mut found);
    if let Some(id) = &args.id {
        found.retain(|section| section.id() == Some(id));
    }
    let section = match &found[..] {
        [] => return Err(format!("{shown} has no such output of @type warehouse: {help}")),
        [one] => *one,
        [first, rest @ ..] if rest.iter().all(|other| place(other) == place(first)) => *first,
        many => {
            let ids: Vec<&str> = many.iter().map(|section| section.id().unwrap_or("(without @id)")).collect();
            return Err(format!("{shown} has several warehouses: choose one with --id, of {}", ids.join(", ")));
        }
    };
    let place = place(section).ok_or_else(|| format!("the warehouse in {shown} has neither url nor path"))?;
    let mut address = query::address(place)?;
    address.region = section.text("region").map(str::to_owned);
    if let Some(endpoint) = section.text("endpoint") {
        address.endpoint = Some(Url::parse(endpoint).map_err(|e| format!("endpoint {endpoint:?}: {e}"))?);
    }
    Ok(address)
}

fn place(section: &Section) -> Option<&str> {
    section.text("url").or_else(|| section.text("path"))
}

/// The warehouses below a section, in any label, copy or worker.
fn outputs<'a>(section: &'a Section, found: &mut Vec<&'a Section>) {
    for child in &section.children {
        if matches!(child.name.as_str(), "match" | "store") && child.plugin_type() == Some("warehouse") {
            found.push(child);
        } else {
            outputs(child, found);
        }
    }
}
