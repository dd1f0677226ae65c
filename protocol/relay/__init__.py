"""The relay: requests to a real upstream and its answers back, byte for byte."""
