//! The files that Amazon's tools share: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::sts::{Role, Sts};
use super::{Lent, process, variable};
use crate::config::Secret;
use crate::net::http::{AwsCredentials, Client};

/// Profiles that name another as their source, one after the other.
const MAX_SOURCES: usize = 5;

/// The values of one profile.
type Values = HashMap<String, String>;

/// The credentials of a profile.
///
/// Errors: no file, no such profile, a profile that names nothing this can obey.
pub(super) async fn credentials(
    path: Option<&Path>,
    name: Option<&str>,
    client: &Client,
    region: &str,
) -> Result<Lent, String> {
    let name = name.map(str::to_owned).or_else(|| variable("AWS_PROFILE")).unwrap_or_else(|| "default".into());
    let files = Files::read(path)?;
    let mut roles = Vec::new();
    let mut wanted = name;
    let mut lent = loop {
        let values = files.profile(&wanted)?;
        if let Some(credentials) =
            keys(&values).filter(|_| !values.contains_key("role_arn") || wanted_by(&roles, &wanted))
        {
            break Lent::forever(credentials);
        }
        if let Some(command) = values.get("credential_process") {
            break process(command).await?;
        }
        let Some(arn) = values.get("role_arn") else {
            return Err(unknown(&wanted, &values));
        };
        let session = values.get("role_session_name").cloned().unwrap_or_else(|| "suiro".into());
        let role = Role {
            arn: arn.clone(),
            session,
            external_id: values.get("external_id").cloned().map(Secret::new),
            ..Role::default()
        };
        if let Some(token) = values.get("web_identity_token_file") {
            break Sts::default().web_identity(&role, Path::new(token), client, region).await?;
        }
        let Some(source) = values.get("source_profile") else {
            return Err(format!("profile {wanted:?} has a role_arn but no source_profile or web_identity_token_file"));
        };
        roles.push((wanted, role));
        if roles.len() > MAX_SOURCES {
            return Err(format!("more than {MAX_SOURCES} profiles name each other as source_profile"));
        }
        wanted = source.clone();
    };
    for (_, role) in roles.iter().rev() {
        lent = Sts::default().assume_role(role, &lent.credentials, client, region).await?;
    }
    Ok(lent)
}

/// A profile may be the source of its own role: then its keys count.
fn wanted_by(roles: &[(String, Role)], name: &str) -> bool {
    roles.iter().any(|(profile, _)| profile == name)
}

fn keys(values: &Values) -> Option<AwsCredentials> {
    Some(AwsCredentials {
        access_key: values.get("aws_access_key_id")?.clone(),
        secret_key: Secret::new(values.get("aws_secret_access_key")?.clone()),
        session_token: values.get("aws_session_token").cloned().map(Secret::new),
    })
}

fn unknown(name: &str, values: &Values) -> String {
    if values.keys().any(|key| key.starts_with("sso_")) {
        return format!(
            "profile {name:?} signs in by SSO, which needs a browser. Write credential_process = aws configure \
             export-credentials --profile {name} into another profile, and name that one"
        );
    }
    format!("profile {name:?} has no aws_access_key_id with aws_secret_access_key, credential_process or role_arn")
}

struct Files {
    credentials: String,
    config: String,
    shown: String,
}

impl Files {
    fn read(path: Option<&Path>) -> Result<Files, String> {
        let home = |file: &str| variable("HOME").map(|home| PathBuf::from(home).join(".aws").join(file));
        let place = |name: &str, file: &str| variable(name).map(PathBuf::from).or_else(|| home(file));
        let given = path.map(Path::to_owned);
        let credentials = given.clone().or_else(|| place("AWS_SHARED_CREDENTIALS_FILE", "credentials"));
        let config = place("AWS_CONFIG_FILE", "config");
        let read = |path: &Option<PathBuf>| path.as_ref().map(std::fs::read_to_string);
        let shown = [&credentials, &config].into_iter().flatten().map(|p| p.display().to_string());
        let shown = shown.collect::<Vec<_>>().join(" and ");
        match (read(&credentials), read(&config)) {
            (Some(Err(e)), _) if given.is_some() => Err(format!("{shown}: {e}")),
            (Some(Ok(credentials)), config) => {
                Ok(Files { credentials, config: config.and_then(Result::ok).unwrap_or_default(), shown })
            }
            (_, Some(Ok(config))) => Ok(Files { credentials: String::new(), config, shown }),
            _ => Err(format!("there is no {shown}")),
        }
    }

    /// All that both files say about a profile; the credentials file goes first.
    fn profile(&self, name: &str) -> Result<Values, String> {
        let headed = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let mut values = section(&self.config, &headed).unwrap_or_default();
        let own = section(&self.credentials, name);
        if own.is_none() && values.is_empty() {
            return Err(format!("there is no profile {name:?} in {}", self.shown));
        }
        values.extend(own.unwrap_or_default());
        Ok(values)
    }
}

/// The values of a section; `None` where there is no such section. Indented lines belong to nested settings.
pub(super) fn section(text: &str, name: &str) -> Option<Values> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines() {
        let bare = line.trim();
        if let Some(header) = bare.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = header.split_whitespace().eq(name.split_whitespace());
            if inside {
                found.get_or_insert_with(Values::new);
            }
        } else if inside
            && !bare.starts_with(['#', ';'])
            && !line.starts_with([' ', '\t'])
            && let Some((key, value)) = bare.split_once('=')
        {
            found.get_or_insert_with(Values::new).insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    found
}
