"""The golden image: how it is put together. Configuration of the appliance lies in the roles, none of it here."""
