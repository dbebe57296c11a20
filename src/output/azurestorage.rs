//! `azurestorage`: stores chunks as blobs in Azure Blob Storage. Parameters are those of fluent-plugin-azurestorage.

use std::sync::Arc;
use std::time::Duration;

use object_store::{Attribute, Attributes};
use serde::Deserialize;
use url::Url;

use super::object::{
    BucketError, Compressed, Connection, Container, HexDigits, KeyParams, ObjectParams, Objects, PATIENCE,
    buffer_defaults, store_as,
};
use crate::buffer::Chunk;
use crate::config::{Diagnostic, Secret};
use crate::event::timefmt::Zone;
use crate::plugin::{BuildContext, Configure, InputError, Output, Stop, WriteError};

/// Parameters of `azurestorage`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct AzureParams {
    /// Beginning of the names.
    path: String,
    /// The account; by default that of `AZURE_STORAGE_ACCOUNT`.
    azure_storage_account: Option<String>,
    /// Its key; by default that of `AZURE_STORAGE_ACCESS_KEY`, else the machine's identity.
    azure_storage_access_key: Option<Secret>,
    /// The container.
    azure_container: Option<String>,
    /// `blob`.
    azure_storage_type: String,
    /// Form of the names.
    azure_object_key_format: String,
    /// Form of the time slice in names.
    time_slice_format: Option<String>,
    /// gzip, zstd, text, json, parquet; by default gzip, or what the format of a whole file says.
    store_as: Option<String>,
    /// How `store_as` packs.
    compress: Option<Compressed>,
    /// Arguments of a command that is not run here.
    command_parameter: Option<String>,
    /// Whether a container that is not there is made.
    auto_create_container: bool,
    /// Form of `%{index}`.
    index_format: String,
    /// Address of the account, where it is not Azure's own: an emulator's, as `http://127.0.0.1:10000/devstoreaccount1`.
    endpoint: Option<String>,
}

impl Default for AzureParams {
    fn default() -> AzureParams {
        AzureParams {
            path: String::new(),
            azure_storage_account: None,
            azure_storage_access_key: None,
            azure_container: None,
            azure_storage_type: "blob".into(),
            azure_object_key_format: "%{path}%{time_slice}_%{index}.%{file_extension}".into(),
            time_slice_format: None,
            store_as: None,
            compress: None,
            command_parameter: None,
            auto_create_container: true,
            index_format: "%d".into(),
            endpoint: None,
        }
    }
}

/// The output.
pub struct AzureStorage {
    objects: Objects,
    params: AzureParams,
    container: String,
    endpoint: Option<Url>,
    content_type: &'static str,
}

impl Configure for AzureStorage {
    type Config = AzureParams;

    fn new(params: AzureParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        buffer_defaults(cx);
        let container = params.azure_container.clone();
        let container = container.ok_or_else(|| cx.fault("azure_container", "azure_container is needed"))?;
        if container.is_empty() || container.contains(['/', '$', '%', '?', '#']) {
            return Err(cx.fault("azure_container", format!("{container:?} can't be the name of a container")));
        }
        if params.azure_storage_type != "blob" {
            return Err(cx.fault("azure_storage_type", "there is blob alone"));
        }
        let store_as = store_as(params.store_as.as_deref(), params.compress.as_ref(), cx)?;
        let objects = Objects::new(
            ObjectParams {
                key: KeyParams {
                    parameter: "azure_object_key_format",
                    format: &params.azure_object_key_format,
                    path: &params.path,
                    extension: store_as.extension(),
                    time_slice_format: params.time_slice_format.as_deref(),
                    // The slices of that plugin are named in UTC, whatever the buffer's zone.
                    zone: Some(Zone::utc()),
                    index_format: &params.index_format,
                    hex_length: 4,
                    hex: HexDigits::Digest,
                },
                store_as,
                compress: params.compress.as_ref(),
                render: None,
                overwrite: false,
                metadata: None,
                warn_for_delay: None,
            },
            cx,
        )?;
        let endpoint = params.endpoint.as_deref().map(|text| Url::parse(text).map_err(|e| e.to_string())).transpose();
        Ok(AzureStorage {
            objects,
            container,
            endpoint: endpoint.map_err(|why| cx.fault("endpoint", why))?,
            content_type: store_as.content_type(),
            params,
        })
    }
}

impl Output for AzureStorage {
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        let container = Container {
            account: self.params.azure_storage_account.clone(),
            access_key: self.params.azure_storage_access_key.clone(),
            name: self.container.clone(),
            endpoint: self.endpoint.clone(),
            client: Arc::new(Connection::default().open()?),
        };
        let open = container.open().map_err(InputError)?;
        match container.ensure(&open, self.params.auto_create_container).await {
            Ok(()) => {}
            Err(BucketError::Refused(why)) => return Err(InputError(why)),
            Err(BucketError::Unreachable(why)) => {
                tracing::warn!("{why}: whether the container is there is not known; its blobs are tried as they come");
            }
        }
        let attributes = Attributes::from_iter([(Attribute::ContentType, self.content_type)]);
        self.objects.open(container.store(open, attributes));
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        self.objects.write(chunk).await
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}
