"""The one fitter: any body and its cameras, compared with a clip and improved by descent."""
