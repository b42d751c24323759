"""Room 8: records become files. Never sees a database session.

To add a format: implement ``base.Exporter``, name it in ``catalog`` and in
``ExportSettings.format``.
"""
