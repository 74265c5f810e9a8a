//! One connection to the server.

use tokio_postgres::{Client, Config, Error, NoTls};

/// Connects, and drives the connection on the current runtime until its client is dropped.
pub(crate) async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // Whoever waits for an answer hears of the error as well.
        let _ = connection.await;
    });
    Ok(client)
}
