//! The catalog on a PostgREST-compatible server: its contract, and faults specific to it.

mod faults;
mod folded_claims;
mod migrations;
pub mod server;
mod speed;
mod unfenced_claims;

use std::sync::Arc;

use mfctl_core::ports::Catalog;

use self::server::Server;
use crate::contract::harness::Fixture;
use crate::contract::job_leases::JobsFixture;

/// As an operator, who sees every tenant: one case has two.
mod operator {
    crate::contract::catalog::catalog_suite!(crate::postgrest::operator_catalog);
}

/// Jobs, as an operator.
mod operator_jobs {
    crate::contract::job_leases::job_lease_suite!(crate::postgrest::operator_jobs_catalog);
}

/// Jobs, as the service role.
mod service_jobs {
    crate::contract::job_leases::job_lease_suite!(crate::postgrest::service_jobs_catalog);
}

/// As the service role of ingest and workers: every case with one tenant.
mod service {
    mod writes {
        cases!(crate::postgrest::service_catalog, crate::contract::catalog:
            staged_asset_round_trips,
            identical_content_becomes_one_asset_with_two_sources,
            duplicates_within_a_batch_return_the_first_row,
            every_write_is_idempotent,
            restage_replaces_the_object_only_while_the_asset_is_staged,
            asset_state_never_regresses_in_any_order_of_writes,
            revoked_asset_stays_revoked,
            writes_of_an_older_revision_are_ignored,
            new_facts_replace_stored_facts_and_absent_facts_keep_them,
            dead_letter_flag_is_cleared_only_by_its_own_stage,
            summary_matches_the_assets,
            assets_of_which_nothing_was_read_are_counted_by_reason,
        );
    }
    mod claims {
        cases!(crate::postgrest::service_catalog, crate::contract::catalog_claims:
            claim_keeps_its_first_owner_and_assets_are_read_with_it,
            commit_completes_the_claims_of_its_epoch,
            evicted_member_changes_nothing,
            member_that_starts_over_fences_its_own_late_requests,
            dead_letter_is_taken_once_by_its_redrive_or_by_a_later_record,
            abandoned_claim_is_taken_only_from_the_named_record,
            record_whose_offset_was_reset_is_in_doubt,
            lower_generation_replaces_exactly_the_epoch_that_refused_it,
            concurrent_claims_agree_on_one_owner,
            random_requests_are_decided_by_the_rules,
        );
    }
    mod claim_folding {
        cases!(crate::postgrest::service_catalog, crate::contract::catalog_claim_folding:
            folded_claim_is_answered_as_done_whoever_asks,
            claims_are_folded_by_their_age_too,
            claim_stays_while_it_may_still_be_taken,
            claims_are_folded_page_by_page_in_the_order_of_assets,
            claim_that_is_folded_meanwhile_is_not_given,
            random_claims_are_folded_by_the_rules,
            end_of_a_partition_is_known_since_it_was_first_seen,
        );
    }
    mod takedowns {
        cases!(crate::postgrest::service_catalog, crate::contract::catalog_takedowns:
            takedown_is_recorded_once_and_its_facts_are_cleared,
            request_for_another_revision_takes_nothing_down_and_lifts_nothing,
            lift_starts_the_next_revision_as_staged,
            transitions_of_revoked_assets_are_returned,
        );
    }
    mod lists {
        cases!(crate::postgrest::service_catalog, crate::contract::catalog_lists:
            assets_are_paged_by_id,
            each_filter_selects_the_matching_assets,
            filters_are_combined_with_and,
            pages_neither_skip_nor_repeat_assets_during_staging,
            sources_are_listed_latest_first,
            assets_are_found_by_event_and_by_path,
            last_outcome_of_a_file_in_a_job_wins,
            outcomes_are_paged_by_tenant_and_path,
            first_job_and_path_name_an_asset_whatever_comes_later,
            history_keeps_every_ingest,
            assets_are_found_by_a_pattern_of_any_of_their_names,
            assets_are_sorted_by_each_key_in_pages,
            empty_catalog_returns_nothing,
        );
    }
}

async fn operator_catalog() -> Fixture<dyn Catalog> {
    let server = Server::start().await;
    Fixture::new(Arc::new(server.catalog(server.as_operator())), server)
}

async fn operator_jobs_catalog() -> JobsFixture {
    let server = Server::start().await;
    Fixture::new(Arc::new(server.catalog(server.as_operator())), server)
}

async fn service_jobs_catalog() -> JobsFixture {
    let server = Server::start().await;
    Fixture::new(Arc::new(server.catalog(server.as_service("default"))), server)
}

async fn service_catalog() -> Fixture<dyn Catalog> {
    let server = Server::start().await;
    Fixture::new(Arc::new(server.catalog(server.as_service("default"))), server)
}
