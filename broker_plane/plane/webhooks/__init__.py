"""Signed POSTs to verified receivers (Standard Webhooks), whatever they carry."""
