"""List-wise models: they read several texts together, so a text's place depends on its neighbours."""
